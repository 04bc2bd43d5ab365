"""Head motion from the user's files: a motion track, or another video."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from talkjax.errors import InputError
from talkjax.face.camera import clip_camera
from talkjax.infer.motion_track import MotionTrack, format_track, parse_track
from talkjax.media.container import check_file
from talkjax.media.reader import probe, read_frames
from talkjax.progress import SILENT, Progress
from talkjax.track.bundle import fit_identity
from talkjax.track.landmarks import load_landmark_models, track_landmarks
from talkjax.track.temporal import fit_track

MIN_FACE_SHARE = 0.5
LEAST_FRAMES = 75  # of the other video: fewer do not show the shape of a face


def read_track(path: Path) -> MotionTrack:
    """The track in a CSV file.

    Raises:
      InputError: no such file, not text, or code `bad_track`.
    """
    full = Path(check_file(path))
    try:
        text = full.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a text file", expected="a motion track (CSV)", code="bad_track"
        ) from None
    return parse_track(text, str(path))


def write_track(path: Path, track: MotionTrack) -> None:
    """Writes the CSV, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(format_track(track), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def head_of_video(
    path: Path, n_frames: int, progress: Progress = SILENT
) -> tuple[Float[np.ndarray, "t 3"], Float[np.ndarray, "t 3"]]:
    """Euler angles and translation of the head in a video, at 25 fps, tracked as `prepare` does.

    At most the first `n_frames` (but `LEAST_FRAMES`) are read.

    Raises:
      InputError: not a video, or no face in half of its frames.
    """
    info = probe(path)
    count = max(n_frames, LEAST_FRAMES)
    with progress("head of the video", count) as ticker:
        track = track_landmarks(
            islice(read_frames(path), count),
            load_landmark_models(),
            progress=lambda done: ticker.update(1) and None,
        )
    share = float(np.mean(track.valid)) if len(track.valid) else 0.0
    if share < MIN_FACE_SHARE:
        raise InputError(
            f"--pose=video:{path}: a face in {share:.0%} of {len(track.valid)} frames",
            expected=f"one in at least {MIN_FACE_SHARE:.0%}",
            fix="use a video of one person who looks toward the camera",
            code="face_lost" if share else "no_face",
        )
    camera = clip_camera(info.width, info.height)
    fit = fit_identity(track.landmarks, track.valid, camera)
    fitted = fit_track(fit.model, track.landmarks, track.valid, camera, init=(fit.pose, fit.exp_coeffs))
    return np.asarray(fitted.pose.euler, np.float64), np.asarray(fitted.pose.translation, np.float64)
