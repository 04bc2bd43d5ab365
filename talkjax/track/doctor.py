"""The verdict on a clip before any work is done with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from talkjax.config import FPS, PrepareConfig, count_frames
from talkjax.errors import InputError
from talkjax.evaluate.speech import lip_opening
from talkjax.infer.sound_offset import estimate_offset
from talkjax.media.reader import ClipInfo, probe, read_audio, read_frames
from talkjax.progress import SILENT, Progress, Ticker
from talkjax.track.clip_checks import (
    Finding,
    check_container,
    check_faces,
    check_offset,
    check_pictures,
    check_sound,
    face_quality,
    refusal,
    verdict,
)

_FEW_SAMPLES = 300  # a clip with more frames is looked at more sparsely ...
_MAX_STRIDE = 5  # ... up to this, 0.2 s: a face that leaves for longer is still noticed
_QUALITY_SAMPLES = 8
_CROP = 160


@dataclass(frozen=True)
class DoctorReport:
    """What the doctor found.

    Attributes:
      clip: as given.
      verdict: `ok`, `repairable` (talkjax copes, with or without loss) or `refused`.
      findings: in the order of the pipeline.
      info: the clip's measures, None when it could not be opened.
    """

    clip: str
    verdict: str
    findings: list[Finding]
    info: ClipInfo | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: {clip, verdict, info, findings: [{code, severity, text, fix}]}."""
        return dataclasses.asdict(self)


def examine(
    clip: str | os.PathLike[str],
    *,
    train_frames: int | None = None,
    progress: Progress = SILENT,
    models: Any = None,
) -> DoctorReport:
    """Looks at a clip's file, sound and faces, and says whether `prepare` and `finetune` can use it.

    Args:
      clip: a video file.
      train_frames: as for `prepare`.
      progress: told about decoded frames.
      models: from `load_landmark_models`; loaded when not given.

    Raises:
      InputError: only for what is no fault of the clip (face models missing).
    """
    path = Path(clip)
    try:
        info = probe(path)
    except InputError as error:
        return _report(path, [refusal(error)], None)
    findings = check_container(info, train_frames)
    wav = np.zeros(0, np.float32)
    if info.has_audio and not info.truncated:
        try:
            wav = read_audio(path)
            findings += check_sound(wav, 16_000, info)
        except InputError as error:
            findings.append(refusal(error))
    if verdict(findings) != "refused":  # looking for faces takes longest: only in a clip that has a chance
        n_train = PrepareConfig(train_frames=train_frames).split(count_frames(info.duration))
        findings += _look_at_faces(path, info, models, progress, wav, n_train)
    return _report(path, findings, info)


def _report(path: Path, findings: list[Finding], info: ClipInfo | None) -> DoctorReport:
    return DoctorReport(str(path), verdict(findings), findings, info)


def _look_at_faces(
    path: Path, info: ClipInfo, models: Any, progress: Progress, wav: np.ndarray, n_train: int
) -> list[Finding]:
    from talkjax.track.landmarks import load_landmark_models, track_landmarks

    models = models or load_landmark_models()
    n_frames = count_frames(info.duration)
    stride = min(_MAX_STRIDE, max(1, -(-n_frames // _FEW_SAMPLES)))
    kept: dict[int, np.ndarray] = {}
    with progress("faces", n_frames) as ticker:
        frames = _sample(
            read_frames(path), stride, max(1, n_frames // stride // _QUALITY_SAMPLES), kept, ticker
        )
        try:
            track = track_landmarks(frames, models)
        except InputError as error:
            return [refusal(error)]
    seen = (
        track.score >= 0.5
    )  # not `valid`, which counts gaps bridged over five samples, here of stride frames
    findings = check_faces(track.landmarks, seen, track.n_faces, stride / FPS)
    index = np.arange(len(seen)) * stride
    train = seen & (index < n_train)  # as prepare does: nothing held out is looked at
    if len(wav):
        findings += check_offset(estimate_offset(wav, lip_opening(track.landmarks[train]), index[train]))
    quality = [_quality(kept[k], track.landmarks[k]) for k in kept if k < len(seen) and seen[k]]
    sharpness, brightness = np.array(quality, np.float64).reshape(-1, 2).T
    return findings + check_pictures(sharpness, brightness)


def _sample(
    frames: Iterable[np.ndarray], stride: int, keep_every: int, kept: dict[int, np.ndarray], ticker: Ticker
) -> Iterator[np.ndarray]:
    """Every `stride`-th frame [h w 3]; gray copies of every `keep_every`-th of those go into `kept`."""
    for index, frame in enumerate(frames):
        ticker.update(1)
        if index % stride:
            continue
        sample = index // stride
        if sample % keep_every == 0:
            kept[sample] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        yield frame


def _quality(gray: np.ndarray, landmarks: np.ndarray) -> tuple[float, float]:
    """`face_quality` of the landmark box [478 3] px cut out of a gray frame and scaled to 160 x 160."""
    height, width = gray.shape
    low = np.clip(landmarks[:, :2].min(0), 0, [width - 2, height - 2]).astype(int)
    high = np.maximum(np.clip(landmarks[:, :2].max(0), 0, [width, height]).astype(int), low + 2)
    crop = gray[low[1] : high[1], low[0] : high[0]]
    return face_quality(cv2.resize(crop, (_CROP, _CROP), interpolation=cv2.INTER_AREA))
