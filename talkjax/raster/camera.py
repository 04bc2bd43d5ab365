"""From camera-space points to pixels and to the rasterizer's clip space.

The conventions of pixels, axes and handedness are stated once, in `docs/raster.md`:
pixel (row i, column j) has its center at (x, y) = (j + .5, i + .5); NDC x right, y up, z smaller = nearer.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import safe_divide
from talkjax.types import Camera


def project(points_cam: Float[Array, "*b n 3"], camera: Camera) -> Float[Array, "*b n 2"]:
    """Pixel position (x right, y down) of points in model units; a point at the camera's depth gives its
    center."""
    depth = camera.distance - points_cam[..., 2]
    scale = safe_divide(jnp.broadcast_to(camera.focal, depth.shape), depth)
    u = camera.center[..., 0] + scale * points_cam[..., 0]
    v = camera.center[..., 1] - scale * points_cam[..., 1]
    return jnp.stack([u, v], axis=-1)


def to_clip(
    points_cam: Float[Array, "*b n 3"],
    camera: Camera,
    height: int,
    width: int,
    near: float = 0.1,
    far: float = 100.0,
) -> Float[Array, "*b n 4"]:
    """Homogeneous clip coordinates of points seen by `camera` in an image of `height` x `width` pixels.

    The same pinhole as `project`: width * (x/w + 1) / 2 is its u, height * (1 - y/w) / 2 its v. w is the
    distance along the view axis (model units); z/w runs from -1 at `near` to 1 at `far`.
    """
    w = camera.distance - points_cam[..., 2]
    center_x = 2.0 * camera.center[..., 0] / width - 1.0
    center_y = 1.0 - 2.0 * camera.center[..., 1] / height
    x = (2.0 / width) * camera.focal * points_cam[..., 0] + center_x * w
    y = (2.0 / height) * camera.focal * points_cam[..., 1] + center_y * w
    z = ((far + near) / (far - near)) * w - 2.0 * far * near / (far - near)
    return jnp.stack([x, y, z, w], axis=-1)
