"""`talkjax generate`: a voice becomes a video of the person saying it."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from talkjax import __version__
from talkjax.config import FPS, GenerateConfig
from talkjax.errors import InputError
from talkjax.infer.motion import match_frames, ping_pong, speaking_motion
from talkjax.infer.person import Person
from talkjax.infer.personal import open_person
from talkjax.infer.personal_mapping import Mapping, load_mapping
from talkjax.infer.personal_refiner import load_refiner
from talkjax.infer.synthesis import pictures
from talkjax.media.reader import file_sha256, read_audio
from talkjax.media.writer import VideoWriter
from talkjax.progress import SILENT, Progress
from talkjax.results import GenerateResult
from talkjax.track.durable import write_json
from talkjax.track.identity import Identity

SAMPLE_RATE = 16_000
OUTPUT_RATE = 48_000
PREVIEW_SECONDS = 3.0


def run(
    identity: Identity, audio: Path, out: Path, config: GenerateConfig, progress: Progress = SILENT
) -> GenerateResult:
    """Writes `out`, `out`.json and, with `config.compare`, `<out>_compare.mp4`.

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
    exp, pose = speech_to_face(person, mapping, wav, n_frames)
    source = choose_source(person, pose, n_frames, config)
    motion = speaking_motion(person, exp, source)
    lap("speech to motion")
    tags = synthetic_tags(identity, audio)
    compare = out.with_name(f"{out.stem}_compare.mp4") if config.compare else None
    with ExitStack() as stack:
        size = (person.width, person.height)
        options: dict[str, Any] = {"audio": (sound, OUTPUT_RATE), "crf": config.crf, "metadata": tags}
        video = stack.enter_context(VideoWriter(out, *size, overwrite=config.overwrite, **options))
        beside = None
        if compare is not None:
            wide = (2 * size[0], size[1])
            beside = stack.enter_context(VideoWriter(compare, *wide, overwrite=True, **options))
        ticker = stack.enter_context(progress("generate", n_frames))
        for picture in pictures(person, refiner, motion, person.train):
            video.write(picture.result)
            if beside is not None:
                beside.write(np.concatenate([picture.result, picture.background], axis=1))
            ticker.update(1)
    lap("pictures")
    sidecar = out.with_name(out.name + ".json")
    record = {
        **tags,
        "created_with": f"talkjax {__version__}",
        "audio": {"file": audio.name, "sha256": file_sha256(audio)},
        "output": {"file": out.name, "sha256": file_sha256(out), "frames": n_frames, "fps": FPS},
        "identity_source": identity.record.source,
        "consent_record": identity.record.consent,
        "models": {name: identity.stage_files(name) for name in ("track", "mapping", "refiner")},
        "settings": config.to_json(),
        "seconds": seconds,
    }
    write_json(sidecar, record)
    if compare is not None:
        identity.add_output(compare)
    return GenerateResult(path=out, sidecar=sidecar, seconds=seconds, frames=n_frames)


def speech_to_face(
    person: Person, mapping: Mapping, wav: np.ndarray, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Expression `[t e]` and head pose `[t 6]` for a voice; the mouth rests where nobody speaks.

    The mapping itself knows the person's resting mouth and hears where speech is; see `mapping_session`.
    """
    del person
    return mapping(wav, n_frames)


def choose_source(person: Person, pose: np.ndarray, n_frames: int, config: GenerateConfig) -> np.ndarray:
    """Training frame behind each output frame: replayed, or matched to the predicted head motion."""
    clip = person.train.euler
    start = int(np.random.default_rng(config.seed).integers(0, len(clip))) if config.seed else 0
    if config.pose == "generated":
        wanted = pose[:, :3]
    else:
        played = ping_pong(n_frames, len(clip), start)
        if config.pose_gain == 1.0:
            return played
        wanted = clip[played]
    mean = clip.mean(0)
    return match_frames(mean + config.pose_gain * (wanted - mean), clip)


def synthetic_tags(identity: Identity, audio: Path) -> dict[str, str]:
    """Marks for the mp4's metadata: that it is synthetic, of whom, from what, by what, with what consent."""
    consent = identity.record.consent.get("status", "not recorded")
    return {
        "synthetic": "true",
        "comment": f"Synthetic video made with talkjax {__version__}; consent: {consent}",
        "talkjax_identity": identity.name,
        "talkjax_audio_sha256": file_sha256(audio),
        "talkjax_version": __version__,
        "talkjax_consent": consent,
        "digital_source_type": "trainedAlgorithmicMedia",
    }
