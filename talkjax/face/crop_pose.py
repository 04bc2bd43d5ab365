"""The head's pose as a network sees it in a crop, and as a camera sees it in the whole picture.

A network sees a square around the face and nothing of the rest: not how far the head is from the camera, nor
how far from the middle of the picture. It answers for the reference's camera (reference.md §2.2): focal
length 1015 at 224 pixels, distance 10 dm, the principal point in the middle of the crop. `repose` says the
same for another camera: the head at the same pixels, of the same size, turned the same way *toward the
viewer*.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.face.camera import DISTANCE
from talkjax.face.pose import apply_pose, euler_from_rotation, rotation
from talkjax.numerics import einsum, normalize
from talkjax.types import Camera, Pose

CROP_FOCAL = 1015.0 / 224.0
"""Focal length over the side of the crop."""


def network_camera(center: Float[Array, "*b 2"], side: Float[Array, "*b"]) -> Camera:
    """The reference's camera for a square of `side` pixels around `center`, in the picture's pixels."""
    side = jnp.asarray(side, jnp.float32)
    return Camera(
        focal=CROP_FOCAL * side, center=jnp.asarray(center), distance=jnp.full(side.shape, DISTANCE)
    )


def _toward(direction: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """The smallest rotation that takes -z (the view axis) to a unit direction with negative z."""
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    share = 1 / (1 - z)
    rows = [
        [1 - share * x * x, -share * x * y, -x],
        [-share * x * y, 1 - share * y * y, -y],
        [x, y, -z],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def repose(pose: Pose, point: Float[Array, "3"], camera: Camera, other: Camera) -> Pose:
    """The pose that looks to `other` as `pose` looks to `camera`; differentiable.

    Args:
      pose: seen by `camera`.
      point: place on the head, model space (dm), that keeps its pixel and its scale.
      camera, other: of one picture, both in its pixels; any leading batch.
    """
    placed = apply_pose(jnp.asarray(point)[None], pose)[..., 0, :]
    depth = camera.distance - placed[..., 2]
    ray = jnp.stack([placed[..., 0], placed[..., 1], -depth], axis=-1)
    shift = camera.center - other.center
    new_depth = depth * other.focal / camera.focal
    scale = camera.focal / depth
    new_ray = jnp.stack(
        [
            (scale * placed[..., 0] + shift[..., 0]) * new_depth / other.focal,
            (scale * placed[..., 1] - shift[..., 1]) * new_depth / other.focal,
            -new_depth,
        ],
        axis=-1,
    )
    from_axis = _toward(normalize(new_ray))
    turn = einsum("...ij,...kj->...ik", from_axis, _toward(normalize(ray)))
    matrix = einsum("...ij,...jk->...ik", turn, rotation(pose.euler))
    moved = new_ray.at[..., 2].add(other.distance)
    return Pose(
        euler=euler_from_rotation(matrix),
        translation=moved - einsum("...ij,j->...i", matrix, jnp.asarray(point)),
    )
