"""Corpora of real talking videos, through the project's own tracker: any folder of clips, or LRW's layout.

LRW (Chung and Zisserman, "Lip Reading in the Wild", 2016): ROOT/WORD/{train,val,test}/WORD_00001.mp4, each 29
frames at 25 fps with sound, and a text file beside it that is not needed. Its licence is the BBC's; nothing
of it is stored here but the sound, the coefficients and the word.

A clip that cannot be used is never fatal: it is put on the quarantine list with the reason's code, and
counted in the manifest.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import talkjax
from talkjax.data.shard_jobs import build_shards
from talkjax.data.speech_corpus import (
    FPS,
    N_CHANNELS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    Utterance,
    claim_folder,
    shard_name,
    shard_plan_key,
    write_manifest,
    write_shard,
)
from talkjax.errors import InputError
from talkjax.face.camera import clip_camera
from talkjax.media.reader import probe, read_audio, read_frames
from talkjax.progress import SILENT, Progress
from talkjax.track.bundle import fit_identity
from talkjax.track.durable import read_json, write_json
from talkjax.track.landmarks import load_landmark_models, track_landmarks
from talkjax.track.temporal import fit_track

VERSION = 1
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
MIN_FACE_SHARE = 0.8
MIN_CLOSED_FRAMES = 3
"""Of a clip: LRW's last 1.2 s; `prepare` wants fifteen for a person's neutral, here three must do."""
LONGEST = 500
"""Frames of one utterance; longer clips are tracked whole and then cut."""
HELDOUT_SHARE = 0.1
_LRW_SPLITS = {"train": "train", "val": "utterance_heldout", "test": "utterance_heldout"}


@dataclasses.dataclass(frozen=True)
class Clip:
    """name: path below the root, the utterances' key. voice: who speaks, as far as the folder tells. sound:
    path below the root of its sound, where that is a file of its own."""

    name: str
    voice: str
    split: str
    text: str = ""
    sound: str = ""


def held_out(name: str, share: float = HELDOUT_SHARE) -> bool:
    """Whether this one, of all that may be, is held out: decided by its name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < share * 2**32


def folder_clips(root: Path) -> list[Clip]:
    """All videos below a folder; each counts as a voice of its own, a tenth is held out (by name)."""
    names = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    clips = []
    for name in names:
        clips.append(Clip(name, name.rsplit(".", 1)[0], "voice_heldout" if held_out(name) else "train"))
    return _some(clips, root, "videos (" + ", ".join(SUFFIXES) + ")")


def lrw_clips(root: Path) -> list[Clip]:
    """All clips of LRW's layout; its val and test parts are held out. LRW does not name its speakers."""
    clips = [
        Clip(path.relative_to(root).as_posix(), "lrw", _LRW_SPLITS[path.parent.name], path.parts[-3].lower())
        for path in sorted(root.glob("*/*/*.mp4"))
        if path.parent.name in _LRW_SPLITS
    ]
    return _some(clips, root, "WORD/{train,val,test}/WORD_00001.mp4")


def _some(clips: list[Clip], root: Path, expected: str) -> list[Clip]:
    if not clips:
        raise InputError(f"{root} holds no clips", expected=expected, fix="check the folder", code="no_clips")
    return clips


def track_clip(root: Path, clip: Clip, source: str, models: Any) -> list[Utterance]:
    """Sound, expression and pose of one clip.

    Raises:
      InputError: why the clip cannot be used (no_audio, no_face, no_closed_lips, decode_error, ...).
    """
    path = root / clip.name
    info = probe(path)
    wav = read_audio(root / clip.sound if clip.sound else path, SAMPLE_RATE)
    seen = track_landmarks(read_frames(path), models)
    share = float(np.mean(seen.valid))
    if share < MIN_FACE_SHARE:
        raise InputError(f"{clip.name}: a face in {share:.0%} of the frames", code="no_face")
    camera = clip_camera(info.width, info.height)
    fit = fit_identity(seen.landmarks, seen.valid, camera, MIN_CLOSED_FRAMES)
    track = fit_track(fit.model, seen.landmarks, seen.valid, camera, init=(fit.pose, fit.exp_coeffs))
    exp, valid = np.asarray(track.exp_coeffs, np.float16), np.asarray(track.valid, bool)
    euler, translation = np.asarray(track.pose.euler), np.asarray(track.pose.translation)
    t = len(exp)
    sound = np.zeros(t * SAMPLES_PER_FRAME, np.int16)
    part = np.round(np.clip(wav[: len(sound)], -1, 1) * 32767).astype(np.int16)
    sound[: len(part)] = part
    return [
        Utterance(
            wav=sound[a * SAMPLES_PER_FRAME : b * SAMPLES_PER_FRAME],
            exp=exp[a:b],
            channels=np.full((b - a, N_CHANNELS), np.nan, np.float16),
            euler=euler[a:b].astype(np.float32),
            translation=translation[a:b].astype(np.float32),
            valid=valid[a:b],
            phones=(),
            voice=clip.voice,
            language="en" if source == "lrw" else "und",
            split=clip.split,
            key=clip.name if t <= LONGEST else f"{clip.name}#{a / FPS:.0f}s",
            text=clip.text,
            style={"face_share": round(share, 4), "fps": round(info.fps, 3)},
        )
        for a, b in ((a, min(a + LONGEST, t)) for a in range(0, t, LONGEST))
    ]


def _report_path(out: Path, k: int) -> Path:
    return out / shard_name(k).replace(".npz", ".json")


def build_shard(
    k: int, root: Path, out: Path, source: str, clips: list[Clip], key: str, models: Any = None
) -> None:
    """Tracks some clips and writes shard k and its report (which clips failed and why)."""
    models = models or load_landmark_models()
    utterances: list[Utterance] = []
    quarantine = []
    for clip in clips:
        try:
            utterances += track_clip(root, clip, source, models)
        except InputError as error:
            quarantine.append({"clip": clip.name, "code": error.code, "problem": error.problem})
    if utterances:
        write_shard(out / shard_name(k), utterances, key)
    write_json(
        _report_path(out, k), {"plan_key": key, "utterances": len(utterances), "quarantine": quarantine}
    )


def _finished(out: Path, k: int, key: str) -> bool:
    try:
        report = read_json(_report_path(out, k))
    except InputError:
        return False
    right = report.get("plan_key") == key
    return right and (not report["utterances"] or shard_plan_key(out / shard_name(k)) == key)


def build_video(
    root: Path,
    out: Path,
    source: str,
    *,
    shard_size: int = 60,
    workers: int = 1,
    progress: Progress = SILENT,
    models: Any = None,
) -> dict[str, Any]:
    """Builds, or finishes, a corpus of real videos; returns its manifest.

    Args:
      root: folder of the clips.
      source: "video_folder" or "lrw".
      shard_size: clips per shard; what a kill can cost.
      workers: processes; 0 works in this one, with `models` if given.

    Raises:
      InputError: no clips, none of them usable, or `out` holds something else.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder", fix="give the folder of the clips", code="no_clips")
    clips = (folder_clips if source == "video_folder" else lrw_clips)(root)
    sizes = [[clip.name, (root / clip.name).stat().st_size] for clip in clips]
    plan = {
        "version": VERSION,
        "talkjax": talkjax.__version__,
        "source_clips": len(clips),
        "clips_sha256": hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        "shard_size": shard_size,
    }
    key = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    claim_folder(out, plan)
    shards = range(-(-len(clips) // shard_size))
    with progress("clips", len(clips)) as ticker:

        def wanted() -> Iterator[int]:
            for k in shards:
                if _finished(out, k, key):
                    ticker.update(shard_size)
                else:
                    yield k

        def note(k: int) -> None:
            ticker.update(shard_size)

        def args(k: int) -> tuple[Any, ...]:
            part = clips[k * shard_size : (k + 1) * shard_size]
            return root, out, source, part, key, models if workers == 0 else None

        build_shards(wanted(), build_shard, args, note, workers)
    return _describe(out, source, list(shards), plan)


def _describe(out: Path, source: str, shards: list[int], plan: dict[str, Any]) -> dict[str, Any]:
    reports = {k: read_json(_report_path(out, k)) for k in shards}
    quarantine = [entry for report in reports.values() for entry in report["quarantine"]]
    names = [shard_name(k) for k, report in reports.items() if report["utterances"]]
    if not names:
        counts = collections.Counter(entry["code"] for entry in quarantine).most_common(3)
        worst = ", ".join(f"{code}: {n}" for code, n in counts)
        raise InputError(
            f"none of the {plan['source_clips']} clips can be used ({worst})",
            fix="talkjax doctor CLIP says more",
            code="no_usable_clips",
        )
    facts = {
        **plan,
        "quarantine": quarantine,
        "quarantine_counts": dict(collections.Counter(entry["code"] for entry in quarantine)),
    }
    return write_manifest(out, source, names, facts)
