"""Any face model fitted to the landmarks of a clip: one identity, pose and expression per frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from talkjax.face.points import with_identity
from talkjax.track import gauss_newton as gn
from talkjax.track.bundle import MAX_BUNDLE_FRAMES, bundle_adjust, fit_identity, initial_theta
from talkjax.track.lift import usable_frames
from talkjax.track.temporal import FaceTrack, fit_track
from talkjax.types import Camera, FaceModel


class ClipFit(NamedTuple):
    """A clip explained by a face model.

    model: about the person (`id_coeffs = 0` is the person in the clip). id_coeffs: the person in the source
    model's own identity axes [k] (zeros for the lifted model, whose mean is the person). track: pose and
    expression of every frame.
    """

    model: FaceModel
    id_coeffs: np.ndarray
    track: FaceTrack


def fit_clip(
    landmarks: np.ndarray, valid: np.ndarray, camera: Camera, model: FaceModel | None = None
) -> ClipFit:
    """Fits a model to a clip; without one, the person's own face is lifted from the landmarks.

    Args:
      landmarks: [t 478 3] px, from `track_landmarks`. valid: [t] bool.
      camera: of the clip.
      model: a statistical model with landmarks; None is the default, person-specific one.

    Raises:
      InputError: too few usable frames (see `fit_identity`).
    """
    if model is None:
        lifted = fit_identity(landmarks, valid, camera)
        track = fit_track(lifted.model, landmarks, valid, camera, init=(lifted.pose, lifted.exp_coeffs))
        return ClipFit(lifted.model, np.zeros(lifted.model.id_basis.shape[0], np.float32), track)
    size = tuple(round(2 * float(c)) for c in np.asarray(camera.center))
    used = np.flatnonzero(usable_frames(landmarks, (size[0], size[1]), valid))
    chosen = used[np.linspace(0, len(used) - 1, min(len(used), MAX_BUNDLE_FRAMES)).round().astype(int)]
    observed, scale = gn.observations(landmarks[chosen], np.ones(len(chosen), bool))
    start = initial_theta(model, landmarks[chosen], camera)
    alpha, _ = bundle_adjust(model, start, observed, scale, camera)
    person = with_identity(model, np.asarray(alpha, np.float32))
    return ClipFit(person, alpha.astype(np.float32), fit_track(person, landmarks, valid, camera))
