"""The pinhole camera assumed for a clip."""

from __future__ import annotations

import jax.numpy as jnp

from talkjax.types import Camera

FOCAL_PER_SIDE = 1.09375
"""Focal length over the longer image side; 1400 px at 1280. Not observable from one clip, so fixed."""

DISTANCE = 10.0
"""Camera at z = 10 dm, as in the reference (reference.md §2.2); the head's translation does the rest."""


def clip_camera(width: int, height: int) -> Camera:
    """Camera of a clip of `width` x `height` pixels: principal point in the middle, no distortion."""
    return Camera(
        focal=jnp.float32(FOCAL_PER_SIDE * max(width, height)),
        center=jnp.array([width / 2, height / 2], jnp.float32),
        distance=jnp.float32(DISTANCE),
    )
