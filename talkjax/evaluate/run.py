"""`talkjax evaluate`: drives `tracked` and `audio` on the held-out frames, measured on the written videos."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np

from talkjax import __version__
from talkjax.config import FPS, EvaluateConfig
from talkjax.errors import InputError
from talkjax.evaluate import figures, plots, report, targets
from talkjax.evaluate.flicker import SkinFlicker
from talkjax.evaluate.head_motion import free_config, motion_report
from talkjax.evaluate.meter import PictureMeter, plain
from talkjax.evaluate.mouth import model_opening, model_width, mouth_figures
from talkjax.evaluate.speech import lip_opening
from talkjax.evaluate.strip import strip_image
from talkjax.evaluate.visemes import viseme_frames, viseme_grid
from talkjax.face.points import landmark_vertices
from talkjax.infer.general_weights import load_general
from talkjax.infer.generate import SAMPLE_RATE, plan_video, speech_to_face, synthetic_tags
from talkjax.infer.layers import FrameSource, Motion
from talkjax.infer.mapping_data import SAMPLES, fitted_wav, raw_rows
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.motion import blind_motion, matched_motion
from talkjax.infer.person import Person, Segment, first_frames, load_segment
from talkjax.infer.personal import open_person
from talkjax.infer.personal_mapping import load_mapping
from talkjax.infer.personal_motion import load_motion
from talkjax.infer.personal_refiner import Refiner, load_refiner
from talkjax.infer.synthesis import pictures
from talkjax.infer.training_data import own_motion
from talkjax.media.image import write_image
from talkjax.media.reader import read_frames
from talkjax.media.writer import VideoWriter
from talkjax.progress import SILENT, Progress
from talkjax.raster.camera import project
from talkjax.results import EvaluateResult
from talkjax.track.durable import write_json
from talkjax.track.identity import Identity
from talkjax.track.landmark_models import LandmarkModels
from talkjax.track.landmarks import load_landmark_models, track_landmarks

STRIP_FRAMES = 20
SILENCE_FRAMES = 100
VISEMES_NAME = "visemes.jpg"
BARE_CRF = 6  # of the temporary video of bare renders: far below what the figures can see


@dataclass(frozen=True)
class _Job:
    """What all steps of an evaluation share."""

    identity: Identity
    person: Person
    refiner: Refiner
    heldout: Segment
    models: LandmarkModels
    config: EvaluateConfig
    folder: Path
    progress: Progress


def run(identity: Identity, config: EvaluateConfig, progress: Progress = SILENT) -> EvaluateResult:
    """Writes `evaluation/`: metrics.json, report.html, heldout_tracked.mp4, heldout_audio.mp4, the strip.

    Raises:
      InputError: not prepared or fine-tuned, or the clip has no held-out frames.
    """
    if not identity.has_stage("heldout"):
        raise InputError(
            f"identity {identity.name!r} has no held-out frames",
            expected="a clip with more frames than --train_frames",
            fix="prepare it again with a smaller --train_frames",
            code="nothing_held_out",
        )
    stages = [identity.require_stage(name, verb="prepare") for name in ("heldout", "heldout_track")]
    folder = identity.root / "evaluation"
    folder.mkdir(mode=0o700, exist_ok=True)
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    job = _Job(
        identity=identity,
        person=open_person(identity, all_frames=refiner.all_frames),
        refiner=refiner,
        heldout=_first_frames(
            load_segment(stages[0], stages[1], identity.record.sound_repair), config.max_frames
        ),
        models=load_landmark_models(),
        config=config,
        folder=folder,
        progress=progress,
    )
    metrics = _clip_figures(job)
    strips, curves = [], {}
    wav = job.heldout.wav()
    if len(wav) and (mapping := _mapping(job)):
        metrics["silence"] = _silence(job, mapping, wav)
    for name, motion, source in _drives(job):
        drive, strip, curve = _measure(job, name, motion, source)
        if name == "audio":
            drive["mouth"] = _mouth_figures(job, motion)
            if (job.folder / VISEMES_NAME).exists():
                strips.append(
                    ("Mouths by kind of sound: real above, result below", job.folder / VISEMES_NAME)
                )
            width = [model_width(job.person.model, x) for x in (job.heldout.exp, motion.exp)]
            series = dict(zip(("real", "predicted"), width, strict=True))
            curves["Mouth width, drive audio, coefficients"] = plots.plot_curves(
                series, "mouth width, % of eye distance", FPS, job.identity.record.train_frames
            )
        metrics["drives"][name] = drive
        if strip is not None:
            strips.append(("Twenty held-out frames: real, bare render, result", strip))
        curves[f"Lip opening, drive {name}"] = curve
    videos = {f"Drive {name}, with the clip's own sound": _video(job, name) for name in metrics["drives"]}
    if identity.has_stage("motion") and len(job.heldout.wav()):
        curves["Head motion: real, and three seeds"] = _head_motion(job, metrics)
        if config.free_seconds > 0:
            video, metrics["drives"]["free"] = _free(job)
            videos["Drive free: everything generated from the held-out sound"] = video
    write_json(folder / "metrics.json", metrics)
    page = report.write_report(folder, metrics, strips, videos, curves)
    rows = targets.check(metrics)
    return EvaluateResult(folder=folder, report=page, metrics=metrics, table=_table(rows))


def _first_frames(segment: Segment, count: int | None) -> Segment:
    return segment if count is None or count >= len(segment) else first_frames(segment, count)


def _video(job: _Job, drive: str) -> Path:
    return job.folder / f"heldout_{drive}.mp4"


def _drives(job: _Job) -> Iterator[tuple[str, Motion, FrameSource]]:
    """Name, motion, and the frames behind it."""
    yield "tracked", own_motion(job.heldout), job.heldout
    if job.config.matched:
        yield "tracked_matched", matched_motion(job.person, job.heldout), job.person.train
    wav = job.heldout.wav()
    if len(wav) and (mapping := _mapping(job)):
        exp, _ = speech_to_face(job.person, mapping, wav, len(job.heldout))
        yield "audio", blind_motion(job.person, exp, job.heldout, job.config.seed), job.heldout


def _head_motion(job: _Job, metrics: dict[str, Any]) -> bytes:
    """Adds the figures of generated head and eye motion to `metrics`; returns the plot."""
    draw, _ = load_motion(job.identity.require_stage("motion", verb="finetune"), job.person)
    training = first_frames(job.person.train, job.identity.record.train_frames).euler
    made = motion_report(job.person, draw, job.heldout.wav(), training, job.heldout.euler)
    metrics["head_motion"], metrics["eyes"] = made.head, made.eyes
    return made.plot


def _free(job: _Job) -> tuple[Path, dict[str, Any]]:
    """Drive `free` of protocol.md: the first seconds of the held-out sound, everything else generated.

    No real frame shows what it shows: its figures are those of steadiness, over the held-out clip's own.
    """
    n = min(round(job.config.free_seconds * FPS), len(job.heldout))
    wav = job.heldout.wav()[: n * int(SAMPLE_RATE / FPS)]
    mapping = load_mapping(job.identity.require_stage("mapping", verb="finetune"))
    exp, _ = speech_to_face(job.person, mapping, wav, n)
    motion = plan_video(job.identity, job.person, exp, wav, free_config(job.config.seed)).motion
    video = job.folder / "free.mp4"
    tags = synthetic_tags(job.identity, job.heldout.folders[0] / "audio.npy")
    size = (job.person.width, job.person.height)
    options: dict[str, Any] = {"audio": (wav, SAMPLE_RATE), "crf": job.config.crf, "metadata": tags}
    with (
        VideoWriter(video, *size, overwrite=True, **options) as writer,
        job.progress("drive free", n) as ticker,
    ):
        for picture in pictures(job.person, job.refiner, motion, job.person.train):
            writer.write(picture.result)
            ticker.update(1)
    return video, _steadiness(job, video, n)


def _steadiness(job: _Job, video: Path, n: int) -> dict[str, Any]:
    """Jitter and flicker of a video against those of the first `n` held-out frames."""
    tracked = track_landmarks(read_frames(video), job.models)
    real = np.where(job.heldout.valid[:n, None, None], job.heldout.landmarks[:n], np.nan)
    out = np.where(tracked.valid[:, None, None], tracked.landmarks, np.nan)
    flicker = SkinFlicker(job.person.model), SkinFlicker(job.person.model)
    for k, frame in enumerate(islice(read_frames(video), n)):
        own = job.heldout.frame(k)
        flicker[0].add(own, own, real[k], real[k])
        flicker[1].add(frame, frame, out[k], out[k])
    changes = [meter.result()["out"] for meter in flicker]
    ratio = changes[1] / changes[0] if changes[0] > 0 else float("nan")
    return {
        "motion": figures.motion_figures(real, out, FPS),
        "flicker": plain({"flicker": ratio, "real": changes[0], "out": changes[1]}),
    }


def _mapping(job: _Job) -> Mapping | None:
    if not job.identity.has_stage("mapping"):
        return None
    return load_mapping(job.identity.require_stage("mapping", verb="finetune"))


def _mouth_figures(job: _Job, motion: Motion) -> dict[str, Any]:
    """The prediction itself against the tracked clip, without any picture."""
    part = job.heldout
    return plain(mouth_figures(job.person.model, motion.exp, part.landmarks, part.exp, part.valid))


def _silence(job: _Job, mapping: Mapping, wav: np.ndarray) -> dict[str, float]:
    """Lip speed in 4 s of silence and of -50 dB noise, over that in the clip's speech (of coefficients)."""
    n = SILENCE_FRAMES
    noise = np.random.default_rng(0).standard_normal(n * SAMPLES).astype(np.float32) * 10 ** (-50 / 20)
    speech = _lip_speed(job, mapping(wav, len(job.heldout))[0])
    sounds = {"digital": np.zeros(n * SAMPLES, np.float32), "noise": noise}
    return {name: _lip_speed(job, mapping(sound, n)[0]) / speech for name, sound in sounds.items()}


def _lip_speed(job: _Job, exp: np.ndarray) -> float:
    return float(np.abs(np.diff(model_opening(job.person.model, exp))).mean())


def _measure(
    job: _Job, name: str, motion: Motion, source: FrameSource
) -> tuple[dict[str, Any], Path | None, bytes]:
    """Synthesizes one drive, then measures the video as a viewer gets it."""
    video, bare_video = _video(job, name), job.folder / f"bare_{name}.tmp.mp4"
    start = time.perf_counter()
    try:
        _synthesize(job, name, motion, source, video, bare_video)
        seconds = time.perf_counter() - start
        with job.progress(f"track {name}", len(job.heldout)) as ticker:
            tracked = track_landmarks(
                read_frames(video), job.models, progress=lambda done: ticker.update(1) and None
            )
        real = np.where(job.heldout.valid[:, None, None], job.heldout.landmarks, np.nan)
        out = np.where(tracked.valid[:, None, None], tracked.landmarks, np.nan)
        flicker = SkinFlicker(job.person.model)
        meter, strip = _picture(job, name, video, bare_video, out, flicker)
    finally:
        bare_video.unlink(missing_ok=True)
    drive = {
        "picture": meter.result(),
        "speech": figures.speech_figures(real, out),
        "motion": figures.motion_figures(real, out, FPS),
        "flicker": plain(flicker.result()),
        "seconds": round(seconds, 1),
    }
    curve = plots.plot_lip_opening(lip_opening(real), lip_opening(out), FPS, job.identity.record.train_frames)
    return drive, strip, curve


def _synthesize(
    job: _Job, name: str, motion: Motion, source: FrameSource, video: Path, bare_video: Path
) -> None:
    person, wav = job.person, job.heldout.wav()[: len(job.heldout) * int(SAMPLE_RATE / FPS)]
    audio = (wav, SAMPLE_RATE) if len(wav) else None
    tags = synthetic_tags(job.identity, job.heldout.folders[0] / "audio.npy")
    size = (person.width, person.height)
    with (
        VideoWriter(video, *size, audio=audio, crf=job.config.crf, metadata=tags, overwrite=True) as writer,
        VideoWriter(bare_video, *size, crf=BARE_CRF, overwrite=True, preset="ultrafast") as bare_writer,
        job.progress(f"drive {name}", len(motion)) as ticker,
    ):
        for picture in pictures(person, job.refiner, motion, source, with_bare=True):
            writer.write(picture.result)
            assert picture.bare is not None
            bare_writer.write(picture.bare)
            ticker.update(1)


def _picture(
    job: _Job, name: str, video: Path, bare_video: Path, tracked_px: np.ndarray, flicker: SkinFlicker
) -> tuple[PictureMeter, Path | None]:
    """Frame by frame against the real clip; feeds `flicker` too, with the video's landmarks."""
    meter = PictureMeter()
    n = len(job.heldout)
    chosen = set(np.linspace(0, n - 1, min(STRIP_FRAMES, n)).round().astype(int).tolist())
    kept: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
    visemes = _visemes(job) if name == "audio" else {}
    mouths: dict[str, tuple[int, np.ndarray, np.ndarray, np.ndarray]] = {}
    with job.progress(f"measure {name}", n) as ticker:
        outs, bares = islice(read_frames(video), n), islice(read_frames(bare_video), n)
        for k, (out, bare) in enumerate(zip(outs, bares, strict=True)):
            out, bare = (x[: job.person.height, : job.person.width] for x in (out, bare))
            real = job.heldout.frame(k)
            landmarks = np.where(job.heldout.valid[k], job.heldout.landmarks[k], np.nan)
            meter.add(real, out, landmarks, bare=bare)
            flicker.add(real, out, landmarks, tracked_px[k])
            if k in chosen and job.heldout.valid[k]:
                kept.append((k, real, bare, out))
            for viseme in (v for v, frame in visemes.items() if frame == k and job.heldout.valid[k]):
                number = job.identity.record.train_frames + k
                mouths[viseme] = (number, real, out, job.heldout.landmarks[k])
            ticker.update(1)
    if mouths:
        ordered = {viseme: mouths[viseme] for viseme in visemes if viseme in mouths}
        write_image(job.folder / VISEMES_NAME, viseme_grid(ordered), quality=90)
    if not kept:
        return meter, None
    index = [k for k, *_ in kept]
    first = job.identity.record.train_frames
    image = strip_image(
        [real for _, real, _, _ in kept],
        [bare for _, _, bare, _ in kept],
        [out for *_, out in kept],
        job.heldout.landmarks[index],
        [first + k for k in index],
    )
    path = job.folder / f"strip_{name}.jpg"
    write_image(path, image, quality=90)
    return meter, path


def _visemes(job: _Job) -> dict[str, int]:
    wav = fitted_wav(job.heldout.wav(), len(job.heldout))
    return viseme_frames(load_general(), raw_rows(wav), len(job.heldout))


def _clip_figures(job: _Job) -> dict[str, Any]:
    """Everything that does not need a drive: the clip, tracking at smaller sizes, fit, pose noise, times."""
    record, person = job.identity.record, job.person
    train = first_frames(person.train, record.train_frames)
    segments = (train, job.heldout)
    fitted = np.concatenate([_fitted_px(person, s) for s in segments])
    landmarks = np.concatenate([s.landmarks for s in segments])
    valid = np.concatenate([s.valid for s in segments])
    euler = np.concatenate([s.euler for s in segments])
    seconds = {name: stage["seconds"] for name, stage in record.stages.items()}
    prepare = sum(seconds.get(n, 0) for n in ("clip", "heldout", "track", "texture", "heldout_track"))
    finetune = sum(seconds.get(n, 0) for n in ("mapping", "refiner"))
    tracking = {"missed": int((~valid).sum())}
    for label, scale in (("missed_half", 1 / 2), ("missed_third", 1 / 3)):
        tracking[label] = _missed(job, label.replace("missed_", "track 1/"), scale)
    settings = json.loads(json.dumps(record.configs))
    return {
        "talkjax": __version__,
        "clip": {
            "identity": job.identity.name,
            "width": person.width,
            "height": person.height,
            "frames": record.n_frames,
            "train_frames": record.train_frames,
            "heldout_frames": len(job.heldout),
            "preset": job.refiner.preset,
            "all_frames": job.refiner.all_frames,
            "configs": settings,
        },
        "tracking": tracking,
        "fit": figures.fit_figures(fitted, landmarks, len(train), valid),
        "pose_noise": figures.pose_noise_figures(euler),
        "times": {"prepare": {"seconds": prepare}, "finetune": {"seconds": finetune}},
        "drives": {},
    }


def _fitted_px(person: Person, segment: Segment) -> np.ndarray:
    verts = person.renderer.verts_cam(jnp.asarray(segment.exp), segment.pose)
    return np.asarray(project(verts, person.camera))[:, landmark_vertices(person.model)]


def _missed(job: _Job, label: str, scale: float) -> int:
    """Frames of the whole clip in which no face is tracked after shrinking the picture."""
    missed = 0
    train = first_frames(job.person.train, job.identity.record.train_frames)
    total = len(train) + len(job.heldout)
    with job.progress(label, total) as ticker:
        for segment in (train, job.heldout):

            def small(segment: Segment = segment) -> Iterator[np.ndarray]:
                for k in range(len(segment)):
                    yield cv2.resize(segment.frame(k), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                    ticker.update(1)

            missed += int((track_landmarks(small(), job.models).score < 0.5).sum())
    return missed


def _table(rows: list[targets.Row]) -> str:
    """The figures as aligned lines of text."""
    marks = {True: "ok", False: "MISSED", None: ""}
    lines = []
    for row in rows:
        if row.value is not None:
            lines.append(f"{row.name:<46} {row.value:>9.3f}   {row.target:<18} {marks[row.ok]}")
    return "\n".join(lines)
