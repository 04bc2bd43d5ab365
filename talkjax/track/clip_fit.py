"""Any face model fitted to the landmarks of a clip: one identity, pose and expression per frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.face.identity_modes import carry_modes, gp_identity_modes
from talkjax.face.points import landmark_part, with_identity
from talkjax.track import gauss_newton as gn
from talkjax.track.bundle import MAX_BUNDLE_FRAMES, bundle_adjust, fit_identity, initial_theta
from talkjax.track.gauss_newton import landmark_weights
from talkjax.track.guided_fit import fit_about
from talkjax.track.lift import similarity, usable_frames
from talkjax.track.photometric import refine_track
from talkjax.track.regressed import Regressed
from talkjax.track.temporal import FaceTrack, fit_track, track_of
from talkjax.types import Camera, FaceModel, Pose

STATISTICAL_ID_PRIOR = 30.0
"""Of a model of many people, whose landmarks were found on its mesh: in % of the eye distance squared they
are wrong by more, and alike in all frames, than those of the lifted face. With 0.5 the axes of ICT-FaceKit
reach almost six standard deviations for nothing."""

N_PERSONAL = 250
"""Smooth modes of shape beside a statistical model's own axes."""

_ALIGNMENTS = 6  # of scale and place, in turn with the shape

LIFT_SIGMA_DM = 0.004
"""What a landmark of the lifted face may be off, in each direction."""


class ClipFit(NamedTuple):
    """A clip explained by a face model.

    model: about the person (`id_coeffs = 0` is the person in the clip), with what the source model's axes
    lack as part of the mean. id_coeffs: the person in the source model's own identity axes
    [k] (zeros for the lifted model, whose mean is the person). track: pose and
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
      frame: k -> [h w 3] uint8 RGB, asked once for each frame in order; with it, pose and expression are
        refined on the picture (`photometric`), which models with joints do not have.

    Raises:
      InputError: too few usable frames (see `fit_identity`).
    """
    if model is None:
        lifted = fit_identity(landmarks, valid, camera)
        track = fit_track(lifted.model, landmarks, valid, camera, init=(lifted.pose, lifted.exp_coeffs))
        fit = ClipFit(lifted.model, np.zeros(lifted.model.id_basis.shape[0], np.float32), track)
        return _on_the_picture(fit, landmarks, camera, frame)
    try:
        lifted_mean = np.asarray(fit_identity(landmarks, valid, camera).model.mean, np.float64)
    except InputError:  # too short, or the mouth never closes: the model's own axes alone
        person, alpha = _from_views(model, landmarks, valid, camera)
    else:
        person, alpha = onto_face(model, lifted_mean)
    fit = ClipFit(person, alpha, fit_track(person, landmarks, valid, camera))
    return _on_the_picture(fit, landmarks, camera, frame)


def _from_views(
    model: FaceModel, landmarks: np.ndarray, valid: np.ndarray, camera: Camera
) -> tuple[FaceModel, np.ndarray]:
    """The person in the model's own axes, by bundle adjustment over all views."""
    size = tuple(round(2 * float(c)) for c in np.asarray(camera.center))
    used = np.flatnonzero(usable_frames(landmarks, (size[0], size[1]), valid))
    if not len(used):
        raise InputError(
            "no frame shows the whole face",
            expected="at least one",
            fix="use a clip in which the face is inside the picture",
            code="too_few_face_frames",
        )
    chosen = used[np.linspace(0, len(used) - 1, min(len(used), MAX_BUNDLE_FRAMES)).round().astype(int)]
    observed, scale = gn.observations(landmarks[chosen], np.ones(len(chosen), bool))
    start = initial_theta(model, landmarks[chosen], camera)
    alpha, _ = bundle_adjust(model, start, observed, scale, camera, id_prior=STATISTICAL_ID_PRIOR)
    person = with_identity(model, jnp.asarray(alpha, jnp.float32))
    return person, alpha.astype(np.float32)


def onto_face(model: FaceModel, face: np.ndarray) -> tuple[FaceModel, np.ndarray]:
    """The model bent onto a lifted face: its own identity axes first, smooth modes for what they lack.

    A fit to the views alone takes expressions for the person's shape (wide eyes and a raised lip in every
    frame) or, with free shape, bends the profile, which no frontal view shows; the lifted face has both
    right.

    Args:
      face: [468 3] dm, lips closed.

    Returns:
      The model about the person (the scale is the model's own), and id_coeffs [k].
    """
    part = landmark_part(model)
    mean = part.mean.astype(np.float64)
    modes = gp_identity_modes(mean, N_PERSONAL)
    basis = np.concatenate([part.id_basis.astype(np.float64), modes])
    weight = landmark_weights()[part.number] / LIFT_SIGMA_DM
    design = (basis * weight[:, None]).reshape(len(basis), -1).T
    normal = design.T @ design + np.eye(len(basis))
    alpha = np.zeros(len(basis))
    for _ in range(_ALIGNMENTS):
        shape = mean + np.einsum("k,knc->nc", alpha, basis)
        scale, turn, offset = similarity(face[part.number][_still(part.number)], shape[_still(part.number)])
        target = (scale * face[part.number] @ turn.T + offset - mean) * weight[:, None]
        alpha = np.linalg.solve(normal, design.T @ target.reshape(-1))
    k = len(part.id_basis)
    person = with_identity(model, jnp.asarray(alpha[:k], jnp.float32))
    bend = carry_modes(np.einsum("n,npc->pc", alpha[k:], modes)[None], mean, np.asarray(model.mean))[0]
    mean_of_person = person.mean + jnp.asarray(bend, jnp.float32)
    return dataclasses.replace(person, mean=mean_of_person), alpha[:k].astype(np.float32)


def _still(number: np.ndarray) -> np.ndarray:
    """Rows of the landmarks that expressions move least."""
    return np.flatnonzero(np.isin(number, mesh468.STABLE))


def fit_of_network(said: Regressed, model: FaceModel | None) -> ClipFit:
    """The network's answers as the fit of a clip: one identity (the median), pose and expression as said.

    Raises:
      InputError: the model is not the one that the network answers in.
    """
    k = said.coeffs.id_coeffs.shape[-1]
    if model is None or model.exp_names != said.exp_names or model.id_basis.shape[0] < k:
        raise InputError(
            f"the reconstruction network does not answer in the axes of {model.name if model else 'lifted'}",
            expected=f"--model={said.model}",
            fix=f"use --model={said.model} (talkjax assets convert --kind={said.model}), or --fit=landmarks",
            code="other_model",
        )
    alpha = np.zeros(model.id_basis.shape[0], np.float32)
    alpha[:k] = said.identity()
    signed = np.asarray(model.exp_signed)
    exp = np.where(signed, said.coeffs.exp_coeffs, np.maximum(said.coeffs.exp_coeffs, 0.0))
    pose = Pose(jnp.asarray(said.coeffs.pose.euler), jnp.asarray(said.coeffs.pose.translation))
    track = FaceTrack(pose, jnp.asarray(exp, jnp.float32), jnp.asarray(said.valid))
    return ClipFit(with_identity(model, jnp.asarray(alpha)), alpha, track)


def guided(fit: ClipFit, landmarks: np.ndarray, camera: Camera) -> ClipFit:
    """The network's track moved toward the landmarks [t 478 3], frame by frame (`guided_fit`)."""
    observed, scale = gn.observations(landmarks, np.asarray(fit.track.valid))
    pose = fit.track.pose
    start = [np.asarray(x) for x in (pose.euler, pose.translation, fit.track.exp_coeffs)]
    problem = gn.make_problem(fit.model, camera, free_identity=False)
    theta = fit_about(problem, np.concatenate(start, axis=1), observed, scale)
    return fit._replace(track=track_of(theta, np.asarray(fit.track.valid)))


def _on_the_picture(
    fit: ClipFit, landmarks: np.ndarray, camera: Camera, frame: Callable[[int], np.ndarray] | None
) -> ClipFit:
    if frame is None or fit.model.skeleton is not None:
        return fit
    track, _ = refine_track(fit.model, fit.track, landmarks, frame, camera)
    return fit._replace(track=track)
