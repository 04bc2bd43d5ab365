"""Rigid head pose. The one place that states the Euler order: R = Rz(roll) @ Ry(yaw) @ Rx(pitch).

Points are rows: `verts_cam = verts_model @ R.T + translation` (reference.md §2.2). Right-handed axes,
x to image right, y up, z toward the camera; radians. Positive pitch lowers the face (chin down), positive
yaw turns it to image right, positive roll tips its top to image left.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import einsum
from talkjax.types import Pose


def rotation(euler: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation matrices Rz @ Ry @ Rx of (pitch, yaw, roll) in radians."""
    cx, cy, cz = jnp.cos(euler[..., 0]), jnp.cos(euler[..., 1]), jnp.cos(euler[..., 2])
    sx, sy, sz = jnp.sin(euler[..., 0]), jnp.sin(euler[..., 1]), jnp.sin(euler[..., 2])
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def euler_from_rotation(matrix: Float[Array, "*b 3 3"]) -> Float[Array, "*b 3"]:
    """(pitch, yaw, roll) in radians of rotation matrices; yaw in [-pi/2, pi/2].

    At yaw = +-pi/2 (a full profile) pitch and roll are not separable and the answer is one of many.
    """
    pitch = jnp.arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = jnp.arctan2(-matrix[..., 2, 0], jnp.hypot(matrix[..., 2, 1], matrix[..., 2, 2]))
    roll = jnp.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return jnp.stack([pitch, yaw, roll], axis=-1)


def apply_pose(verts_model: Float[Array, "*b v 3"], pose: Pose) -> Float[Array, "*b v 3"]:
    """Model space to camera space; batch axes of the two broadcast."""
    turned = einsum("...vi,...ji->...vj", verts_model, rotation(pose.euler))
    return turned + pose.translation[..., None, :]


def invert_pose(pose: Pose) -> Pose:
    """The pose that undoes `pose`: `apply_pose(apply_pose(x, pose), invert_pose(pose)) == x`."""
    matrix = rotation(pose.euler)
    return Pose(
        euler=euler_from_rotation(jnp.swapaxes(matrix, -1, -2)),
        translation=-einsum("...i,...ij->...j", pose.translation, matrix),
    )
