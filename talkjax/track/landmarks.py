"""Facial landmarks of every frame of a clip: follow, look again in a smoothed region, bridge short gaps.

Frames stream through; at most nine are held at a time. Each frame is seen by the mesh network once to follow
the face, and three frames later five more times through slightly different crops of the smoothed region,
whose mean is the answer (it has about an eighth less frame-to-frame noise than one look). Deterministic.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable

import numpy as np

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.errors import InputError
from talkjax.face.mesh468 import N_LANDMARKS
from talkjax.track.detect import box_overlap
from talkjax.track.landmark_follow import (
    MAX_BRIDGED_FRAMES,
    PRESENCE_THRESHOLD,
    SAME_FACE_OVERLAP,
    Follower,
    look,
)
from talkjax.track.landmark_models import LandmarkModels, build_models
from talkjax.track.landmark_roi import RoiSmoother, landmarks_box, roi_from_landmarks


def _look_offsets() -> np.ndarray:
    """Offsets `[5 4]` of the five looks: x, y, side (shares of the side), angle (radians); mean zero.

    A fixed design, not random draws: the same offsets in every frame add no noise of their own.
    """
    turn = 2 * np.pi * np.arange(5) / 5
    side, angle = np.array([-2, 1, -1, 2, 0]), np.array([0, 2, -2, -1, 1])
    return np.stack([0.015 * np.cos(turn), 0.015 * np.sin(turn), 0.012 * side, 0.012 * angle], axis=1)


LOOKS = _look_offsets()


@dataclasses.dataclass(frozen=True)
class LandmarkTrack:
    """Landmarks of a clip of t frames.

    Attributes:
      landmarks: `[t 478 3]` float32 pixels (x right, y down, z smaller = nearer, on the scale of x). Frames
        without a face repeat the nearest frame that has one (zeros where the clip has none).
      score: `[t]` float32 presence in [0, 1]; below 0.5 where the face was not seen.
      valid: `[t]` bool: seen, or in a gap of at most five frames that was bridged by interpolation.
      n_faces: `[t]` int32 faces in the frame, looked for at the start, after a loss and every tenth frame.
    """

    landmarks: np.ndarray
    score: np.ndarray
    valid: np.ndarray
    n_faces: np.ndarray


def load_landmark_models(
    backend: str = "auto", assets_dir: str | os.PathLike[str] | None = None
) -> LandmarkModels:
    """The detector and the mesh network; fetches their files once (see assets/mediapipe.py).

    Args:
      backend: "litert", "jax", or "auto" (LiteRT where it is installed).
      assets_dir: folder of the model files.

    Raises:
      InputError: files missing and not to be had, or unknown backend.
    """
    files = landmark_model_files(assets_dir)
    return build_models(files["detector"].read_bytes(), files["mesh"].read_bytes(), backend)


class _Answers:
    """Growing per-frame results; second looks arrive a few frames later and in order."""

    def __init__(self) -> None:
        self.landmarks: list[np.ndarray | None] = []
        self.score: list[float] = []
        self.n_faces: list[int] = []

    def add(self, follower: Follower, presence: float) -> None:
        face = follower.face
        self.landmarks.append(None if face is None else face.landmarks.astype(np.float32))
        self.score.append(min(presence, PRESENCE_THRESHOLD - 0.01) if face is None else face.presence)
        self.n_faces.append(follower.n_faces)

    def refine(self, index: int, points: np.ndarray, presence: np.ndarray) -> None:
        self.landmarks[index] = points.mean(axis=0).astype(np.float32)
        self.score[index] = float(presence.mean())

    def track(self) -> LandmarkTrack:
        return _bridged(self.landmarks, np.array(self.score, np.float32), np.array(self.n_faces, np.int32))


def _bridged(found: list[np.ndarray | None], score: np.ndarray, n_faces: np.ndarray) -> LandmarkTrack:
    """Fills gaps: short ones between two views of one face linearly, all others with the nearest view."""
    seen = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
    landmarks = np.zeros((len(found), N_LANDMARKS, 3), np.float32)
    valid = np.zeros(len(found), bool)
    for frame, value in enumerate(found):
        if value is not None:
            landmarks[frame], valid[frame] = value, True
    for i in np.flatnonzero(~valid) if len(seen) else []:
        after = int(np.searchsorted(seen, i))
        before_frame, after_frame = seen[max(after - 1, 0)], seen[min(after, len(seen) - 1)]
        gap = after_frame - before_frame - 1
        a, b = landmarks[before_frame], landmarks[after_frame]
        same = box_overlap(landmarks_box(a), landmarks_box(b)[None])[0][0] >= SAME_FACE_OVERLAP
        if before_frame < i < after_frame and gap <= MAX_BRIDGED_FRAMES and same:
            share = np.float32((i - before_frame) / (gap + 1))
            landmarks[i], valid[i] = a + share * (b - a), True
        else:
            landmarks[i] = a if abs(i - before_frame) <= abs(after_frame - i) else b
    return LandmarkTrack(landmarks, score, valid, n_faces)


def track_landmarks(
    frames: Iterable[np.ndarray], models: LandmarkModels, *, progress: Callable[[int], object] | None = None
) -> LandmarkTrack:
    """Tracks the largest face of a clip.

    Args:
      frames: uint8 RGB `[h w 3]`, all of one size; may be a long stream.
      models: from `load_landmark_models`.
      progress: called with the number of frames read so far.

    Returns:
      One entry per frame. A clip without any face gives a track that is nowhere valid.

    Raises:
      InputError: no frames at all, or a frame of another type or size.
    """
    follower, answers, smoother = Follower(models), _Answers(), RoiSmoother[tuple[int, np.ndarray]]()
    waiting: list[_SecondLook] = []
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        _check_frame(frame, shape, index)
        shape = frame.shape
        # One batch fills both cores: this frame's first look and the second look at an earlier frame.
        roi = follower.next_roi(frame)
        later = waiting.pop(0) if waiting else None
        views = ([] if roi is None else [(frame, roi)]) + ([] if later is None else later.views())
        points, presence = look(views, models) if views else (np.zeros((0, N_LANDMARKS, 3)), np.zeros(0))
        first = len(views) - (0 if later is None else len(LOOKS))
        follower.update(frame, points[0] if first else None, float(presence[0]) if first else 0.0)
        answers.add(follower, float(presence[0]) if first else 0.0)
        if later is not None:
            answers.refine(later.index, points[first:], presence[first:])
        if follower.resumed or follower.face is None:
            waiting += [_SecondLook(*item, region) for item, region in smoother.flush()]
        if follower.face is not None:
            roi = roi_from_landmarks(follower.face.landmarks)
            waiting += [_SecondLook(*item, region) for item, region in smoother.push((index, frame), roi)]
        while len(waiting) > 1:
            _answer(waiting.pop(0), answers, models)
        if progress is not None:
            progress(index + 1)
    for second in [*waiting, *(_SecondLook(*item, region) for item, region in smoother.flush())]:
        _answer(second, answers, models)
    if shape is None:
        raise InputError("the clip has no frames", expected="at least one video frame", code="no_frames")
    return answers.track()


@dataclasses.dataclass(frozen=True)
class _SecondLook:
    """A frame whose smoothed region is known and whose final landmarks are not yet."""

    index: int
    frame: np.ndarray
    roi: np.ndarray

    def views(self) -> list[tuple[np.ndarray, np.ndarray]]:
        side = self.roi[2]
        return [(self.frame, roi) for roi in self.roi + LOOKS * [side, side, side, 1.0]]


def _answer(second: _SecondLook, answers: _Answers, models: LandmarkModels) -> None:
    answers.refine(second.index, *look(second.views(), models))


def _check_frame(frame: np.ndarray, shape: tuple[int, ...] | None, index: int) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(
            f"frame {index} is {frame.dtype} {list(frame.shape)}", expected="uint8 RGB [height width 3]"
        )
    if shape is not None and frame.shape != shape:
        raise InputError(
            f"frame {index} is {list(frame.shape)}", expected=f"{list(shape)} as the frames before"
        )
