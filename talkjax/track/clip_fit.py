"""Any face model fitted to the landmarks of a clip: one identity, pose and expression per frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.face.points import with_identity
from talkjax.track import gauss_newton as gn
from talkjax.track.bundle import MAX_BUNDLE_FRAMES, bundle_adjust, fit_identity, initial_theta
from talkjax.track.lift import usable_frames
from talkjax.track.photometric import refine_track
from talkjax.track.temporal import FaceTrack, fit_track
from talkjax.types import Camera, FaceModel

STATISTICAL_ID_PRIOR = 10.0
"""Of a model of many people, whose landmarks were found on its mesh: in % of the eye distance squared they
are wrong by more, and alike in all frames, than those of the lifted face. With 0.5 the axes of ICT-FaceKit
reach almost six standard deviations for nothing (held-out error 1.60 % with 10 as with 0.5)."""


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
    landmarks: np.ndarray,
    valid: np.ndarray,
    camera: Camera,
    model: FaceModel | None = None,
    frame: Callable[[int], np.ndarray] | None = None,
) -> ClipFit:
    """Fits a model to a clip; without one, the person's own face is lifted from the landmarks.

    Args:
      landmarks: [t 478 3] px, from `track_landmarks`. valid: [t] bool.
      camera: of the clip.
      model: a statistical model with landmarks; None is the default, person-specific one.
      frame: k -> [h w 3] uint8 RGB; with it, pose and expression are refined on the picture (`photometric`),
        which models with joints do not have.

    Raises:
      InputError: too few usable frames (see `fit_identity`).
    """
    if model is None:
        lifted = fit_identity(landmarks, valid, camera)
        track = fit_track(lifted.model, landmarks, valid, camera, init=(lifted.pose, lifted.exp_coeffs))
        fit = ClipFit(lifted.model, np.zeros(lifted.model.id_basis.shape[0], np.float32), track)
        return _on_the_picture(fit, landmarks, camera, frame)
    size = tuple(round(2 * float(c)) for c in np.asarray(camera.center))
    used = np.flatnonzero(usable_frames(landmarks, (size[0], size[1]), valid))
    chosen = used[np.linspace(0, len(used) - 1, min(len(used), MAX_BUNDLE_FRAMES)).round().astype(int)]
    observed, scale = gn.observations(landmarks[chosen], np.ones(len(chosen), bool))
    start = initial_theta(model, landmarks[chosen], camera)
    alpha, _ = bundle_adjust(model, start, observed, scale, camera, id_prior=STATISTICAL_ID_PRIOR)
    person = with_identity(model, jnp.asarray(alpha, jnp.float32))
    fit = ClipFit(person, alpha.astype(np.float32), fit_track(person, landmarks, valid, camera))
    return _on_the_picture(fit, landmarks, camera, frame)


def _on_the_picture(
    fit: ClipFit, landmarks: np.ndarray, camera: Camera, frame: Callable[[int], np.ndarray] | None
) -> ClipFit:
    if frame is None or fit.model.skeleton is not None:
        return fit
    track, _ = refine_track(fit.model, fit.track, landmarks, frame, camera)
    return fit._replace(track=track)
