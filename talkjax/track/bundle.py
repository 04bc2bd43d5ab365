"""A person's identity from a clip: bundle adjustment of one shape with every frame's pose and expression.

Damped Gauss-Newton; the frames' unknowns are eliminated first (Schur complement), so the shared system has
only the identity's size. Method and priors: face.md §5.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.face.person import person_model
from talkjax.face.points import landmark_part
from talkjax.track import gauss_newton as gn
from talkjax.track.lift import (
    MIN_CLOSED_FRAMES,
    canonical_frame,
    closed_frames,
    lift_neutral,
    rigid_pose,
    usable_frames,
)
from talkjax.types import Camera, FaceModel, Pose

EFFECTIVE_FRAMES = 20.0
"""Neighbouring frames repeat each other: the clip's data term counts as this many independent frames."""

ID_PRIOR = 0.5
MAX_BUNDLE_FRAMES = 160
_ITERATIONS = 15


class IdentityFit(NamedTuple):
    """What `fit_identity` knows: the person, and the pose and expression of every frame it was given."""

    model: FaceModel
    pose: Pose  # [t]
    exp_coeffs: np.ndarray  # [t 43]


def fit_identity(
    landmarks: np.ndarray, valid: np.ndarray, camera: Camera, min_closed: int = MIN_CLOSED_FRAMES
) -> IdentityFit:
    """Lifts the person's neutral and refines it on all views of it.

    Args:
      landmarks: [t 478 3] px.
      valid: [t] bool, frames with a trusted face.
      camera: of the clip; its centre is taken as the middle of the image.
      min_closed: closed-lip frames wanted (see `lift_neutral`).

    Returns:
      (FaceModel with the person as mean, Pose [t], exp_coeffs [t 43]). Frames that could not be used
      are bridged linearly.

    Raises:
      InputError: too few usable or closed-lip frames (see `lift_neutral`), or the fit left finite numbers.
    """
    landmarks = np.asarray(landmarks, np.float64)
    width, height = (2 * float(c) for c in np.asarray(camera.center))
    usable = usable_frames(landmarks, (round(width), round(height)), valid)
    lifted = lift_neutral(landmarks, (round(width), round(height)), valid, min_closed)
    used = np.flatnonzero(usable)
    model = person_model(_refine(lifted, landmarks[_spread(used)], camera))
    theta = gn.bridge(_fit_independently(model, landmarks[used], camera), used, len(landmarks))
    pose = Pose(
        euler=jnp.asarray(theta[:, :3], jnp.float32), translation=jnp.asarray(theta[:, 3:6], jnp.float32)
    )
    return IdentityFit(model, pose, theta[:, gn.POSE_SIZE :].astype(np.float32))


def initial_theta(model: FaceModel, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Start [t 6+e] of a fit: rigid pose of every frame, no expression."""
    part = landmark_part(model)
    neutral = np.full((mesh468.N_MESH, 3), np.nan)
    neutral[part.number] = part.mean
    pose = rigid_pose(landmarks, neutral, camera)
    zeros = np.zeros((len(landmarks), len(model.exp_names)))
    return np.concatenate([np.asarray(pose.euler), np.asarray(pose.translation), zeros], axis=1)


def _fit_independently(model: FaceModel, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    observed, scale = gn.observations(landmarks, np.ones(len(landmarks), bool))
    problem = gn.make_problem(model, camera, free_identity=False)
    start = initial_theta(model, landmarks, camera)
    return gn.fit_frames(problem, start, observed, scale)


def _spread(used: np.ndarray) -> np.ndarray:
    """At most `MAX_BUNDLE_FRAMES` of the usable frames, evenly over the clip."""
    if len(used) <= MAX_BUNDLE_FRAMES:
        return used
    return used[np.linspace(0, len(used) - 1, MAX_BUNDLE_FRAMES).round().astype(int)]


def _refine(lifted: np.ndarray, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """The lifted neutral moved to agree with all frames; canonical [468 3].

    Besides the identity modes it takes up the expression that the closed-lip frames have in common, so that
    a mouth at rest has coefficients near zero.
    """
    observed, scale = gn.observations(landmarks, np.ones(len(landmarks), bool))
    closed = closed_frames(landmarks)
    model = person_model(lifted)
    start = initial_theta(model, landmarks, camera)
    alpha, theta = bundle_adjust(model, start, observed, scale, camera)
    rest = np.median(theta[closed, gn.POSE_SIZE :], axis=0)
    rest[model.exp_names.index("jawFwd")] = 0.0  # depth alone: no image shows where it rests
    refined = lifted + np.einsum("k,knc->nc", alpha, np.asarray(model.id_basis, np.float64))
    refined = refined + np.einsum("e,enc->nc", rest, np.asarray(model.exp_basis, np.float64))
    if not np.isfinite(refined).all():
        raise InputError(
            "the face fit left the finite numbers",
            fix="check that the landmarks follow one face through the clip",
            code="fit_diverged",
        )
    return canonical_frame(refined)


def bundle_adjust(
    model: FaceModel,
    theta: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
    camera: Camera,
    id_prior: float = ID_PRIOR,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimizes data / share + id_prior |alpha|^2 over the identity and all frames' unknowns.

    Args:
      theta: [t 6+e] start.
      observed, scale: see `gauss_newton.observations`.

    Returns:
      alpha [k], theta [t 6+e].
    """
    problem = gn.make_problem(model, camera, free_identity=True)
    share = max(len(theta) / EFFECTIVE_FRAMES, 1.0)
    theta, alpha = np.array(theta, np.float64), np.zeros(model.id_basis.shape[0])

    def total(theta: np.ndarray, alpha: np.ndarray) -> float:
        prior = gn.expression_prior(problem, theta[:, gn.POSE_SIZE :])[0]
        data = gn.data_cost(problem, theta, alpha, observed, scale)
        return float((data + prior).sum() / share + id_prior * alpha @ alpha)

    mu, cost = 1e-2, total(theta, alpha)
    for _ in range(_ITERATIONS):
        blocks = gn.linearize(problem, theta, alpha, observed, scale)
        trial_theta, trial_alpha = _schur_step(problem, blocks, theta, alpha, share, mu, id_prior)
        trial = total(trial_theta, trial_alpha)
        if not trial < cost:  # also refuses NaN
            mu *= 8
            continue
        gain = (cost - trial) / cost
        theta, alpha, cost, mu = trial_theta, trial_alpha, trial, max(mu / 5, 1e-6)
        if gain < 1e-4:
            break
    return alpha, theta


def _schur_step(
    problem: gn.LandmarkProblem,
    blocks: gn.Blocks,
    theta: np.ndarray,
    alpha: np.ndarray,
    share: float,
    mu: float,
    id_prior: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One damped step of (theta, alpha), the frames' blocks eliminated."""
    m = theta.shape[1]
    _, prior_gradient, prior_diagonal = gn.expression_prior(problem, theta[:, gn.POSE_SIZE :])
    frame_hessian, frame_gradient = blocks.hessian[:, :m, :m].copy(), blocks.gradient[:, :m].copy()
    index = np.arange(gn.POSE_SIZE, m)
    frame_hessian[:, index, index] += prior_diagonal
    frame_gradient[:, gn.POSE_SIZE :] += prior_gradient
    cross = blocks.hessian[:, :m, m:]
    shared_hessian = blocks.hessian[:, m:, m:].sum(0) / share + id_prior * np.eye(len(alpha))
    shared_gradient = blocks.gradient[:, m:].sum(0) / share + id_prior * alpha
    right = np.concatenate([cross, frame_gradient[..., None]], axis=-1)
    solved = np.linalg.solve(gn.damp(frame_hessian, mu), right)
    from_cross, from_gradient = solved[..., :-1], solved[..., -1]
    schur = shared_hessian - np.einsum("tmi,tmj->ij", cross, from_cross, optimize=True) / share
    reduced = shared_gradient - np.einsum("tmi,tm->i", cross, from_gradient) / share
    alpha_step = np.linalg.solve(schur + 1e-3 * np.eye(len(alpha)), reduced)
    theta_step = from_gradient - np.einsum("tmi,i->tm", from_cross, alpha_step)
    return theta - theta_step, alpha - alpha_step
