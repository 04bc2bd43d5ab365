"""`talkjax generate`: a voice becomes a video of the person saying it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from talkjax import __version__
from talkjax.config import FPS, GenerateConfig
from talkjax.errors import InputError
from talkjax.infer import marks
from talkjax.infer.face_layer import editor_layers
from talkjax.infer.head_style import fit_head_style
from talkjax.infer.layers import Motion
from talkjax.infer.motion_files import head_of_video, read_track, write_track
from talkjax.infer.motion_plan import Plan, plan_motion
from talkjax.infer.motion_track import MotionTrack
from talkjax.infer.person import Person
from talkjax.infer.personal import open_person
from talkjax.infer.personal_mapping import Mapping, load_mapping
from talkjax.infer.personal_motion import load_motion
from talkjax.infer.personal_refiner import Refiner, load_refiner
from talkjax.infer.pose_edits import parse_freeze
from talkjax.infer.pose_sources import played_track, retarget
from talkjax.infer.synthesis import pictures
from talkjax.media.layer_writer import MARKER, open_layer
from talkjax.media.reader import file_sha256, probe, read_audio
from talkjax.media.writer import VideoWriter, check_output
from talkjax.progress import SILENT, Progress
from talkjax.results import GenerateResult
from talkjax.track.durable import write_json
from talkjax.track.identity import Identity
from talkjax.track.identity_record import NO_CONSENT

SAMPLE_RATE = 16_000
OUTPUT_RATE = 48_000
PREVIEW_SECONDS = 3.0


def run(
    identity: Identity, audio: Path, out: Path, config: GenerateConfig, progress: Progress = SILENT
) -> GenerateResult:
    """Writes `out`, `out`.json and, with `config.compare`, `<out>_compare.mp4`.

    With `config.layer` that layer instead, its record inside where `out` is a folder.

    Raises:
      InputError: not fine-tuned, unusable audio, or the output cannot be written.
    """
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[name] = round(now - start, 3)
        start = now

    check_motion(config)
    track_file = motion_output(config, out)
    mapping = load_mapping(identity.require_stage("mapping", verb="finetune"))
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    if config.preset not in ("auto", refiner.preset):
        raise InputError(
            f"identity {identity.name!r} was fine-tuned with --preset={refiner.preset}, not {config.preset}",
            fix=f"talkjax finetune --identity={identity.name} --preset={config.preset}",
            code="other_preset",
        )
    person = open_person(identity, all_frames=refiner.all_frames)
    lap("load")
    longest = math.inf if config.preview else config.max_seconds
    wav = read_audio(audio, SAMPLE_RATE, max_seconds=longest)
    sound = read_audio(audio, OUTPUT_RATE, max_seconds=longest)
    if config.preview:
        wav, sound = wav[: int(PREVIEW_SECONDS * SAMPLE_RATE)], sound[: int(PREVIEW_SECONDS * OUTPUT_RATE)]
    n_frames = max(round(len(wav) / SAMPLE_RATE * FPS), 1)
    exp, _ = speech_to_face(person, mapping, wav, n_frames)
    lap("speech to face")
    plan = plan_video(identity, person, exp, wav, config, progress)
    motion = plan.motion
    if track_file is not None:
        write_track(track_file, plan.track)
        identity.add_output(track_file)
    lap("motion")
    tags = synthetic_tags(identity, audio)
    audio_track = (sound, OUTPUT_RATE)
    compare = None
    if config.layer == "none":
        compare = _write_video(out, person, refiner, motion, config, audio_track, tags, progress)
    else:
        _write_layer(out, person, refiner, motion, config, audio_track, tags, progress)
    lap("pictures")
    sidecar = out / MARKER if out.is_dir() else out.with_name(out.name + ".json")
    record = {
        **tags,
        "created_with": f"talkjax {__version__}",
        "audio": {"file": audio.name, "sha256": file_sha256(audio)},
        "output": {"file": out.name, "sha256": _sha256(out), "frames": n_frames, "fps": FPS},
        "identity_source": identity.record.source,
        "consent_record": identity.record.consent,
        "models": {name: identity.stage_files(name) for name in ("track", "mapping", "motion", "refiner")},
        "settings": config.to_json(),
        "seconds": seconds,
    }
    write_json(sidecar, record)
    if compare is not None:
        identity.add_output(compare)
    return GenerateResult(path=out, sidecar=sidecar, seconds=seconds, frames=n_frames)


def _write_video(
    out: Path,
    person: Person,
    refiner: Refiner,
    motion: Motion,
    config: GenerateConfig,
    audio: tuple[np.ndarray, int],
    tags: dict[str, str],
    progress: Progress,
) -> Path | None:
    """Writes the finished video, and beside the real clip where asked for; returns the path of the latter."""
    size = (person.width, person.height)
    options: dict[str, Any] = {"audio": audio, "crf": config.crf, "metadata": tags}
    compare = out.with_name(f"{out.stem}_compare.mp4") if config.compare else None
    with ExitStack() as stack:
        video = stack.enter_context(VideoWriter(out, *size, overwrite=config.overwrite, **options))
        beside = None
        if compare is not None:
            wide = (2 * size[0], size[1])
            beside = stack.enter_context(VideoWriter(compare, *wide, overwrite=True, **options))
        ticker = stack.enter_context(progress("generate", len(motion)))
        for picture in pictures(person, refiner, motion, person.train):
            video.write(picture.result)
            if beside is not None:
                beside.write(np.concatenate([picture.result, picture.background], axis=1))
            ticker.update(1)
    return compare


def _write_layer(
    out: Path,
    person: Person,
    refiner: Refiner,
    motion: Motion,
    config: GenerateConfig,
    audio: tuple[np.ndarray, int],
    tags: dict[str, str],
    progress: Progress,
) -> None:
    """Writes one layer of the video; see `GenerateConfig.layer`."""
    options: dict[str, Any] = {"audio": audio, "metadata": tags | {"talkjax_layer": config.layer}}
    options |= {"name": config.layer, "overwrite": config.overwrite}
    with (
        open_layer(out, person.width, person.height, **options) as writer,
        progress(f"generate {config.layer}", len(motion)) as ticker,
    ):
        for layers in editor_layers(person, refiner, motion, person.train):
            writer.write(layers.picture(config.layer))
            ticker.update(1)


def _sha256(out: Path) -> str:
    """Of a file, or of a folder's files' digests in the order of their names."""
    if out.is_file():
        return file_sha256(out)
    digests = "".join(file_sha256(path) for path in sorted(out.glob("*.png")))
    return hashlib.sha256(digests.encode()).hexdigest()


def motion_of(
    identity: Identity, audio: Path, config: GenerateConfig, progress: Progress = SILENT
) -> MotionTrack:
    """The motion of `run` with the same settings, without pictures.

    Raises:
      InputError: as `run`.
    """
    check_motion(config)
    mapping = load_mapping(identity.require_stage("mapping", verb="finetune"))
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    person = open_person(identity, all_frames=refiner.all_frames)
    wav = read_audio(audio, SAMPLE_RATE)
    if config.preview:
        wav = wav[: int(PREVIEW_SECONDS * SAMPLE_RATE)]
    exp, _ = speech_to_face(person, mapping, wav, max(round(len(wav) / SAMPLE_RATE * FPS), 1))
    return plan_video(identity, person, exp, wav, config, progress).track


def speech_to_face(
    person: Person, mapping: Mapping, wav: np.ndarray, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Expression `[t e]` and head pose `[t 6]` for a voice; the mouth rests where nobody speaks.

    The mapping itself knows the person's resting mouth and hears where speech is; see `mapping_session`.
    """
    del person
    return mapping(wav, n_frames)


def check_motion(config: GenerateConfig) -> None:
    """Refuses a bad `freeze`, track or video before any work; see `parse_freeze`, `read_track`, `probe`."""
    parse_freeze(config.freeze)
    if config.pose_kind == "track":
        read_track(Path(config.pose_file))
    elif config.pose_kind == "video":
        probe(Path(config.pose_file))


def motion_output(config: GenerateConfig, out: Path) -> Path | None:
    """The track file to write, if asked for.

    Raises:
      InputError: not a .csv, the video's own path, existing without `overwrite`, or not writable.
    """
    if config.motion_out is None:
        return None
    path = Path(config.motion_out)
    if path.absolute() == out.absolute():
        raise InputError(f"--motion_out={path} is the video's path", code="bad_output")
    with contextlib.suppress(OSError):  # if this fails, the check below says why
        path.parent.mkdir(parents=True, exist_ok=True)
    return Path(check_output(path, overwrite=config.overwrite, suffixes=(".csv",)))


def plan_video(
    identity: Identity,
    person: Person,
    mouth_exp: np.ndarray,
    wav: np.ndarray,
    config: GenerateConfig,
    progress: Progress = SILENT,
) -> Plan:
    """The whole motion of a video whose mouth is `mouth_exp` `[t e]`, from the settings.

    Raises:
      InputError: the pose source's file, or the stage that it needs, is missing or damaged.
    """
    kind, n_frames, train = config.pose_kind, len(mouth_exp), person.train
    style, _ = fit_head_style(train.euler, train.translation, train.valid)
    wanted, body = None, None
    needed = kind in ("generated", "matched", "delta")
    if needed or identity.has_stage("motion"):
        draw, body = load_motion(identity.require_stage("motion", verb="finetune"), person)
    if needed:
        wanted = draw(wav, n_frames, config.seed)
    elif kind == "track":
        wanted = played_track(style, read_track(Path(config.pose_file)), n_frames)
    elif kind == "video":
        euler, translation = head_of_video(Path(config.pose_file), n_frames, progress)
        wanted = MotionTrack(*retarget(style, euler, translation, n_frames))
    return plan_motion(person, mouth_exp, style, wanted, config, body)


def synthetic_tags(identity: Identity, audio: Path) -> dict[str, str]:
    """`marks.synthetic_tags` of an identity and a sound file."""
    consent = identity.record.consent.get("status", NO_CONSENT["status"])
    return marks.synthetic_tags(identity.name, consent, file_sha256(audio))
