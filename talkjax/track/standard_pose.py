"""A tracked clip in the reference's 224-pixel crop: alignment per frame, and the head before its camera."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from talkjax.face.alignment import (
    STANDARD_CENTER,
    STANDARD_DISTANCE,
    STANDARD_FOCAL,
    crop_points,
    fit_alignment,
    five_points,
    landmarks_68,
)
from talkjax.face.model import face_verts
from talkjax.face.points import points_at
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.track.clip_fit import ClipFit
from talkjax.types import Camera, Pose

_STEPS = 6


class StandardTrack(NamedTuple):
    """Per frame, in the field's conventions (`face/alignment.py`).

    trans_params: `[t 5]`. points_68: `[t 68 2]` px of the crop. five: `[t 5 2]`. pose: with `standard_camera`
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
    neutral = np.asarray(points, np.float64)
    start = np.asarray(pose.euler, np.float64), _first_translation(neutral, wanted)
    euler, translation, error = _fit_pose(neutral, wanted, *start)
    return StandardTrack(
        trans_params=alignment.trans_params,
        points_68=crop_points(marks, alignment).astype(np.float32),
        five=crop_points(five, alignment).astype(np.float32),
        pose=Pose(euler=jnp.asarray(euler, jnp.float32), translation=jnp.asarray(translation, jnp.float32)),
        error_px=error,
    )


def _first_translation(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """A head of the right size in the middle of the crop."""
    spread = np.linalg.norm(wanted - wanted.mean(1, keepdims=True), axis=-1).mean(1)
    own = np.linalg.norm((points - points.mean(1, keepdims=True))[..., :2], axis=-1).mean(1)
    depth = STANDARD_FOCAL * own / np.maximum(spread, 1e-3)
    return np.stack([np.zeros(len(points)), np.zeros(len(points)), STANDARD_DISTANCE - depth], axis=1)


def _fit_pose(
    points: Float[np.ndarray, "t n 3"],
    wanted: Float[np.ndarray, "t n 2"],
    euler: Float[np.ndarray, "t 3"],
    translation: Float[np.ndarray, "t 3"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Newton for every frame's six unknowns; a step turns the head about its own origin.

    Returns:
      euler [t 3], translation [t 3], rms distance [t] px.
    """
    turn = Rotation.from_euler("xyz", euler)  # fixed axes: Rz Ry Rx
    error = np.zeros(len(points))
    for step in range(_STEPS + 1):
        turned = np.einsum("tij,tnj->tni", turn.as_matrix(), points)
        x, y, z = np.moveaxis(turned + translation[:, None], -1, 0)
        scale = STANDARD_FOCAL / (STANDARD_DISTANCE - z)
        residual = np.stack([STANDARD_CENTER + scale * x, STANDARD_CENTER - scale * y], -1) - wanted
        error = np.sqrt((residual**2).sum(-1).mean(1))
        if step == _STEPS:
            break
        by_point = np.zeros((*residual.shape, 3))  # d pixel / d point
        by_point[..., 0, 0], by_point[..., 1, 1] = scale, -scale
        by_point[..., 0, 2], by_point[..., 1, 2] = (
            scale * x / (STANDARD_DISTANCE - z),
            -scale * y / (STANDARD_DISTANCE - z),
        )
        by_turn = np.cross(turned[..., None, :], by_point)  # d point = w x turned
        jacobian = np.concatenate([by_turn, by_point], -1).reshape(len(points), -1, 6)
        transposed = np.swapaxes(jacobian, 1, 2)
        normal = transposed @ jacobian + 1e-6 * np.eye(6)
        move = np.linalg.solve(normal, transposed @ residual.reshape(len(points), -1, 1))[..., 0]
        turn, translation = Rotation.from_rotvec(-move[:, :3]) * turn, translation - move[:, 3:]
    return turn.as_euler("xyz"), translation, error
