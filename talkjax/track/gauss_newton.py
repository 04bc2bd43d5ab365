"""The least-squares problem that all landmark fits share: residuals, Jacobians, priors, damped steps.

Unknowns per frame: theta = (euler 3, translation 3, exp e); over all frames: alpha = id_coeffs. Jacobians
and their products run jitted in float32 at HIGHEST precision, frame blocks are solved in float64 numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from talkjax.face import mesh468
from talkjax.face.model import face_verts
from talkjax.face.points import at_vertices, landmark_part, landmarks_are_exact, without_identity
from talkjax.face.pose import apply_pose, rotation
from talkjax.numerics import einsum
from talkjax.raster.camera import project
from talkjax.track.lift import eye_distance_px
from talkjax.types import Camera, FaceModel, Pose

POSE_SIZE = 6

EXP_PRIOR, EXP_PRIOR_FOUND = 1.0, 30.0
"""Strength of the expression prior where every landmark is a vertex of the model (the lifted face), and where
they were found on its mesh: there they are off by some percent of the eye distance, alike in all frames, and
a weak prior makes expressions of that."""

_CHUNK = 32  # frames at once; bounds the memory of the Jacobians
_GROUP = 1024  # frames whose matrices are held together


class Blocks(NamedTuple):
    """Gauss-Newton blocks of the data term, per frame; unknowns are (theta, alpha)."""

    cost: np.ndarray  # [t]
    gradient: np.ndarray  # [t m+k]
    hessian: np.ndarray  # [t m+k m+k]


@struct.dataclass
class LandmarkProblem:
    """A face at its landmarks, with the camera and a weight per landmark.

    A linear face is its mean and bases at the `n` landmarks; one with a skeleton is `jointed`, the model at
    the corners of the landmarks' triangles, and `bary` makes points of them.
    """

    number: Int[Array, "n"]  # which of the 468 tracked landmarks
    mean: Float[Array, "n 3"]
    id_basis: Float[Array, "k n 3"]
    exp_basis: Float[Array, "e n 3"]
    exp_signed: Bool[Array, "e"]
    weights: Float[Array, "n"]
    camera: Camera
    jointed: FaceModel | None = None
    bary: Float[Array, "n 3"] | None = None
    exp_limit: float = struct.field(pytree_node=False, default=1.3)
    exp_prior: float = struct.field(pytree_node=False, default=1.0)


def landmark_weights() -> np.ndarray:
    """How much each of the 468 landmarks counts: lips 1, face 0.6, outline 0.3 (face.md §5).

    The outline is where the network marks the visible border rather than a point of the skin.
    """
    weights = np.full(mesh468.N_MESH, 0.6)
    weights[mesh468.LIPS] = 1.0
    weights[mesh468.FACE_OVAL] = 0.3
    return weights


def make_problem(model: FaceModel, camera: Camera, *, free_identity: bool) -> LandmarkProblem:
    """The model at its landmarks with the standard weights; a frozen identity has no id unknowns."""
    part = landmark_part(model)
    jointed = bary = None
    if model.skeleton is not None:
        kept = model if free_identity else without_identity(model)
        jointed, bary = at_vertices(kept, np.asarray(model.landmarks.verts).reshape(-1)), model.landmarks.bary
    return LandmarkProblem(
        number=model.landmarks.number,
        mean=jnp.asarray(part.mean),
        id_basis=jnp.asarray(part.id_basis if free_identity else part.id_basis[:0]),
        exp_basis=jnp.asarray(part.exp_basis),
        exp_signed=model.exp_signed,
        weights=jnp.asarray(landmark_weights()[part.number], jnp.float32),
        camera=camera,
        jointed=jointed,
        bary=bary,
        exp_limit=model.exp_limit,
        exp_prior=EXP_PRIOR if landmarks_are_exact(model) else EXP_PRIOR_FOUND,
    )


def observations(landmarks: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Observed points [t 468 2] px and the factor [t] from px to % of the outer-eye distance.

    Invalid and non-finite frames get factor 0 and harmless numbers.
    """
    points = np.asarray(landmarks, np.float64)[:, : mesh468.N_MESH]
    distance = eye_distance_px(points)
    usable = np.asarray(valid, bool) & np.isfinite(points).all((1, 2)) & (distance > 1.0)
    scale = np.where(usable, 100.0 / np.where(usable, distance, 1.0), 0.0)
    return np.where(usable[:, None, None], points[..., :2], 0.0).astype(np.float32), scale.astype(np.float32)


def bridge(theta: np.ndarray, used: np.ndarray, n_frames: int) -> np.ndarray:
    """Spreads rows [u m] known at frames `used` [u] over all frames: linear between, constant outside."""
    frames = np.arange(n_frames)
    return np.stack([np.interp(frames, used, column) for column in theta.T], axis=1)


def _project(euler: Array, translation: Array, verts: Array, camera: Camera) -> Array:
    """Pixels [n 2] of model-space points [n 3]."""
    return project(apply_pose(verts, Pose(euler=euler, translation=translation)), camera)


def _shape(problem: LandmarkProblem, exp: Array, alpha: Array) -> Array:
    if problem.jointed is not None and problem.bary is not None:
        corners = face_verts(problem.jointed, alpha, exp).reshape(-1, 3, 3)
        return einsum("nkc,nk->nc", corners, problem.bary)
    shape = problem.mean + einsum("k,knc->nc", alpha, problem.id_basis)
    return shape + einsum("e,enc->nc", exp, problem.exp_basis)


def _residual(problem: LandmarkProblem, theta: Array, alpha: Array, observed: Array, scale: Array) -> Array:
    verts = _shape(problem, theta[POSE_SIZE:], alpha)
    px = _project(theta[:3], theta[3:POSE_SIZE], verts, problem.camera)
    return (px - observed[problem.number]) * scale * problem.weights[:, None]


def _frame_blocks(
    problem: LandmarkProblem, theta: Array, alpha: Array, observed: Array, scale: Array
) -> tuple[Array, Array, Array]:
    euler, translation, exp = theta[:3], theta[3:POSE_SIZE], theta[POSE_SIZE:]
    verts = _shape(problem, exp, alpha)
    weight = scale * problem.weights[:, None]
    seen = _project(euler, translation, verts, problem.camera)
    residual = (seen - observed[problem.number]) * weight
    pose_jac = jax.jacfwd(lambda p: _project(p[:3], p[3:], verts, problem.camera))(theta[:POSE_SIZE])
    # each point's pixel depends on that point alone: d px / d vertex = d px / d translation @ R
    vertex_jac = einsum("nac,cb->nab", pose_jac[..., 3:], rotation(euler))
    if problem.jointed is None:
        basis = jnp.concatenate([problem.exp_basis, problem.id_basis])
        shape_jac = einsum("nab,knb->nak", vertex_jac, basis)
    else:
        by_exp, by_id = jax.jacfwd(lambda e, a: _shape(problem, e, a), (0, 1))(exp, alpha)
        shape_jac = einsum("nab,nbk->nak", vertex_jac, jnp.concatenate([by_exp, by_id], axis=-1))
    jacobian = jnp.concatenate([pose_jac, shape_jac], axis=-1) * weight[..., None]
    jacobian = jacobian.reshape(-1, jacobian.shape[-1])
    flat = residual.reshape(-1)
    return jnp.sum(flat * flat), einsum("ri,r->i", jacobian, flat), einsum("ri,rj->ij", jacobian, jacobian)


@jax.jit
def _chunk_blocks(
    problem: LandmarkProblem, theta: Array, alpha: Array, observed: Array, scale: Array
) -> tuple[Array, Array, Array]:
    return jax.vmap(_frame_blocks, (None, 0, None, 0, 0))(problem, theta, alpha, observed, scale)


@jax.jit
def _chunk_costs(
    problem: LandmarkProblem, theta: Array, alpha: Array, observed: Array, scale: Array
) -> tuple[Array]:
    residual = jax.vmap(_residual, (None, 0, None, 0, 0))(problem, theta, alpha, observed, scale)
    return (jnp.sum(residual**2, axis=(1, 2)),)


def _over_chunks(
    function: Callable[..., tuple[Array, ...]],
    problem: LandmarkProblem,
    theta: np.ndarray,
    alpha: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
) -> list[np.ndarray]:
    """Runs a jitted function on `_CHUNK` frames at a time: one compilation for clips of any length."""
    n_frames = len(theta)
    padding = -n_frames % _CHUNK
    theta = np.concatenate([theta, np.repeat(theta[-1:], padding, 0)]).astype(np.float32)
    observed = np.concatenate([observed, np.repeat(observed[-1:], padding, 0)])
    scale = np.concatenate([scale, np.zeros(padding, scale.dtype)])
    alpha = np.asarray(alpha, np.float32)
    parts = []
    for i in range(0, len(theta), _CHUNK):
        rows = slice(i, i + _CHUNK)
        outs = function(problem, theta[rows], alpha, observed[rows], scale[rows])
        parts.append([np.asarray(out, np.float64) for out in outs])
    return [np.concatenate(values)[:n_frames] for values in zip(*parts, strict=True)]


def linearize(
    problem: LandmarkProblem, theta: np.ndarray, alpha: np.ndarray, observed: np.ndarray, scale: np.ndarray
) -> Blocks:
    """Cost, gradient J'r and Gauss-Newton matrix J'J of the data term of every frame (float64)."""
    return Blocks(*_over_chunks(_chunk_blocks, problem, theta, alpha, observed, scale))


def data_cost(
    problem: LandmarkProblem, theta: np.ndarray, alpha: np.ndarray, observed: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Sum of squared weighted residuals of every frame [t], in (% of the outer-eye distance) squared."""
    return _over_chunks(_chunk_costs, problem, theta, alpha, observed, scale)[0]


def expression_prior(
    problem: LandmarkProblem, exp: np.ndarray, share: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cost [t], gradient [t e] and Hessian diagonal [t e] of what keeps expressions plausible.

    exp_prior * share * (e^2 + (30 min(e, 0))^2 for unsigned axes + (9 max(|e| - exp_limit, 0))^2), face.md
    §5; the gradient and the diagonal are halved, like J'r and J'J of the data term.
    """
    negative = np.where(np.asarray(problem.exp_signed), 0.0, np.minimum(exp, 0.0))
    excess = np.sign(exp) * np.maximum(np.abs(exp) - problem.exp_limit, 0.0)
    cost = (exp**2 + (30.0 * negative) ** 2 + (9.0 * excess) ** 2).sum(-1)
    gradient = exp + 900.0 * negative + 81.0 * excess
    diagonal = 1.0 + 900.0 * (negative < 0) + 81.0 * (excess != 0)
    strength = problem.exp_prior * share
    return strength * cost, strength * gradient, strength * diagonal


def damp(hessian: np.ndarray, mu: np.ndarray | float) -> np.ndarray:
    """Levenberg-Marquardt: adds mu times the diagonal (and a floor) to matrices [*b n n]."""
    diagonal = np.einsum("...ii->...i", hessian)
    extra = np.asarray(mu)[..., None] * np.maximum(diagonal, 1e-3) + 1e-4
    return hessian + extra[..., None] * np.eye(hessian.shape[-1])


def fit_frames(
    problem: LandmarkProblem,
    theta: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
    *,
    iterations: int = 15,
    tolerance: float = 1e-3,
) -> np.ndarray:
    """Fits pose and expression of every frame on its own, identity fixed at zero coefficients.

    Args:
      theta: [t 6+e] start.
      observed, scale: from `observations`; frames with scale 0 keep their start.
      iterations: upper limit; stops when no frame's cost falls by more than `tolerance` of itself.

    Returns:
      theta [t 6+e] float64.
    """
    groups = [
        _fit_group(problem, theta[rows], observed[rows], scale[rows], iterations, tolerance)
        for rows in (slice(i, i + _GROUP) for i in range(0, len(theta), _GROUP))
    ]
    return np.concatenate(groups)


def _fit_group(
    problem: LandmarkProblem,
    theta: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
    iterations: int,
    tolerance: float,
) -> np.ndarray:
    alpha = np.zeros(problem.id_basis.shape[0])
    size = theta.shape[1]
    index = np.arange(POSE_SIZE, size)
    theta = np.array(theta, np.float64)
    mu = np.full(len(theta), 1e-2)
    active = scale > 0
    for _ in range(iterations):
        blocks = linearize(problem, theta, alpha, observed, scale)
        prior, prior_gradient, prior_diagonal = expression_prior(problem, theta[:, POSE_SIZE:])
        hessian, gradient = blocks.hessian[:, :size, :size], blocks.gradient[:, :size]
        gradient[:, POSE_SIZE:] += prior_gradient
        hessian[:, index, index] += prior_diagonal
        cost = blocks.cost + prior
        step = np.linalg.solve(damp(hessian, mu), gradient[..., None])[..., 0]
        trial = theta - step * active[:, None]
        trial_prior = expression_prior(problem, trial[:, POSE_SIZE:])[0]
        trial_cost = data_cost(problem, trial, alpha, observed, scale) + trial_prior
        better = active & (trial_cost < cost)
        theta = np.where(better[:, None], trial, theta)
        mu = np.where(better, np.maximum(mu / 5, 1e-6), mu * 8)
        if not (better & (trial_cost < (1 - tolerance) * cost)).any():
            break
    return theta
