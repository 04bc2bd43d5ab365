"""A tracked clip in the reference's 224-pixel crop: alignment per frame, and the head before its camera."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.face.alignment import (
    STANDARD_CAMERA,
    crop_points,
    fit_alignment,
    five_points,
    landmarks_68,
)
from talkjax.face.model import face_verts
from talkjax.face.points import points_at
from talkjax.face.pose import apply_pose
from talkjax.numerics import einsum, matmul
from talkjax.raster.camera import project
from talkjax.track.clip_fit import ClipFit
from talkjax.types import Camera, Pose

_STEPS = 8


class StandardTrack(NamedTuple):
    """Per frame, in the field's conventions (`face/alignment.py`).

    trans_params: `[t 5]`. points_68: `[t 68 2]` px of the crop. five: `[t 5 2]`. pose: with `STANDARD_CAMERA`
    the model's landmarks lie in the crop where the clip's camera puts them, `error_px` `[t]` rms.
    """

    trans_params: np.ndarray
    points_68: np.ndarray
    five: np.ndarray
    pose: Pose
    error_px: np.ndarray


def standard_track(fit: ClipFit, landmarks: Float[np.ndarray, "t 478 3"], camera: Camera) -> StandardTrack:
    """Aligns every frame to the reference's crop and finds the head's pose before the crop's camera."""
    marks = landmarks_68(landmarks)[..., :2] - 0.5  # pixel centers at whole numbers
    five = five_points(marks)
    size = tuple(round(2 * float(c)) for c in np.asarray(camera.center))
    alignment = fit_alignment(five, (size[0], size[1]))
    exp, pose = fit.track.exp_coeffs, fit.track.pose
    nobody = jnp.zeros(fit.model.id_basis.shape[0])
    points = points_at(face_verts(fit.model, nobody, exp), fit.model.landmarks)
    seen = np.asarray(project(apply_pose(points, pose), camera), np.float64) - 0.5
    wanted = crop_points(seen, alignment)
    start = jnp.concatenate([pose.euler, _first_translation(np.asarray(points), wanted)], axis=1)
    found, error = _fit_pose(points, jnp.asarray(wanted, jnp.float32), start)
    return StandardTrack(
        trans_params=alignment.trans_params,
        points_68=crop_points(marks, alignment).astype(np.float32),
        five=crop_points(five, alignment).astype(np.float32),
        pose=Pose(euler=found[:, :3], translation=found[:, 3:]),
        error_px=np.asarray(error),
    )


def _first_translation(points: np.ndarray, wanted: np.ndarray) -> Array:
    """A head of the right size in the middle of the crop."""
    spread = np.linalg.norm(wanted - wanted.mean(1, keepdims=True), axis=-1).mean(1)
    own = np.linalg.norm((points - points.mean(1, keepdims=True))[..., :2], axis=-1).mean(1)
    depth = 1015.0 * own / np.maximum(spread, 1e-3)
    zero = np.zeros(len(points))
    return jnp.asarray(np.stack([zero, zero, 10.0 - depth], axis=1), jnp.float32)


@jax.jit
def _fit_pose(
    points: Float[Array, "t n 3"], wanted: Float[Array, "t n 2"], start: Float[Array, "t 6"]
) -> tuple[Float[Array, "t 6"], Float[Array, "t"]]:
    """Gauss-Newton for the six unknowns of every frame."""

    def residual(theta: Array, verts: Array, target: Array) -> Array:
        pose = Pose(euler=theta[:3], translation=theta[3:])
        return (project(apply_pose(verts, pose), STANDARD_CAMERA) - target).reshape(-1)

    def solve(theta: Array, verts: Array, target: Array) -> tuple[Array, Array]:
        of = partial(residual, verts=verts, target=target)

        def step(theta: Array, _: None) -> tuple[Array, None]:
            jacobian = jax.jacfwd(of)(theta)
            normal = matmul(jacobian.T, jacobian)
            gradient = einsum("ri,r->i", jacobian, of(theta))
            return theta - jnp.linalg.solve(normal + 1e-3 * jnp.eye(6), gradient), None

        theta, _ = jax.lax.scan(step, theta, None, length=_STEPS)
        left = of(theta).reshape(-1, 2)
        return theta, jnp.sqrt(jnp.mean(jnp.sum(left**2, axis=-1)))

    return jax.vmap(solve)(start, points, wanted)
