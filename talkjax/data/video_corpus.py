"""Utterances of real talking videos, through the project's own tracker: any folder of clips, or LRW's layout.

LRW (Chung and Zisserman, "Lip Reading in the Wild", 2016): ROOT/WORD/{train,val,test}/WORD_00001.mp4, each 29
frames at 25 fps with sound, and a text file beside it that is not needed. Its licence is the BBC's; nothing
of it is stored here but the sound, the coefficients and the word.

`corpora/` makes corpora of them, clip by clip (`preparation.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.data.speech_corpus import (
    FPS,
    N_CHANNELS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    Utterance,
)
from talkjax.errors import InputError
from talkjax.face.camera import clip_camera
from talkjax.media.reader import probe, read_audio, read_frames
from talkjax.track.bundle import fit_identity
from talkjax.track.landmarks import track_landmarks
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
