"""Clip vertices to integer pixel coordinates, and what a triangle needs to be drawn.

All coverage decisions are made on integers (1/256 pixel): float edge functions are not antisymmetric once a
compiler fuses multiply and add, so two triangles could both claim, or both miss, a pixel of their shared
edge.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

SUBPIXEL_BITS = 8
ONE_PIXEL = 1 << SUBPIXEL_BITS
HALF_PIXEL = ONE_PIXEL // 2
GUARD = 1 << 23
"""Vertices further than this (32768 px) from the image center are not drawn: exactness ends there."""


class Corners(NamedTuple):
    """Three snapped corners per triangle: x right, y down (1/256 px), NDC depth; not drawn where `bad`."""

    x: list[Int[Array, "n"]]
    y: list[Int[Array, "n"]]
    z: list[Float[Array, "n"]]
    bad: Int[Array, "n"]


class Box(NamedTuple):
    """Inclusive range of pixel centers inside a triangle's bounding box and the image; empty if max < min."""

    left: Int[Array, "n"]
    right: Int[Array, "n"]
    top: Int[Array, "n"]
    bottom: Int[Array, "n"]


def snap_verts(verts_clip: Float[Array, "v 4"], height: int, width: int) -> Int[Array, "v 4"]:
    """Rows (x, y in 1/256 px, bits of NDC z, bad flag).

    Bad: NaN or infinite, w <= 0, nearer than the near plane (z < -w), or outside the guard band. They are
    replaced by zero before the conversion to integers, which is undefined for them. Adding the image center
    after rounding keeps the result free of fused multiply-add, hence the same everywhere.
    """
    w = verts_clip[:, 3]
    # comparisons with NaN are false; an infinite w is caught by isfinite
    drawable = jnp.isfinite(verts_clip).all(-1) & (w > 0) & (verts_clip[:, 2] >= -w)
    safe_w = jnp.where(drawable, w, 1.0)
    x = jnp.rint((verts_clip[:, 0] / safe_w) * (HALF_PIXEL * width))
    y = jnp.rint((-verts_clip[:, 1] / safe_w) * (HALF_PIXEL * height))
    drawable &= (jnp.abs(x) < GUARD) & (jnp.abs(y) < GUARD)
    column = jnp.where(drawable, x, 0.0).astype(jnp.int32) + HALF_PIXEL * width
    row = jnp.where(drawable, y, 0.0).astype(jnp.int32) + HALF_PIXEL * height
    z = jnp.where(drawable, verts_clip[:, 2] / safe_w, 0.0)
    bad = (~drawable).astype(jnp.int32)
    return jnp.stack([column, row, lax.bitcast_convert_type(z, jnp.int32), bad], axis=-1)


def gather_corners(snapped: Int[Array, "v 4"], faces4: Int[Array, "n 4"]) -> Corners:
    """The three corner rows of each triangle, in one gather."""
    n = faces4.shape[0]
    rows = snapped.at[faces4[:, :3].T.reshape(-1)].get(mode="promise_in_bounds").reshape(3, n, 4)
    z = lax.bitcast_convert_type(rows[:, :, 2], jnp.float32)
    return Corners(
        x=[rows[i, :, 0] for i in range(3)],
        y=[rows[i, :, 1] for i in range(3)],
        z=[z[i] for i in range(3)],
        bad=rows[0, :, 3] | rows[1, :, 3] | rows[2, :, 3],
    )


def min3(a: list[Array]) -> Array:
    """Elementwise smallest of three."""
    return jnp.minimum(jnp.minimum(a[0], a[1]), a[2])


def max3(a: list[Array]) -> Array:
    """Elementwise largest of three."""
    return jnp.maximum(jnp.maximum(a[0], a[1]), a[2])


def pixel_box(corners: Corners, height: int, width: int) -> Box:
    """Pixels whose center (256 j + 128) lies within the corners' range, cut to the image."""
    up, down = HALF_PIXEL - 1, -HALF_PIXEL
    return Box(
        left=jnp.maximum((min3(corners.x) + up) >> SUBPIXEL_BITS, 0),
        right=jnp.minimum((max3(corners.x) + down) >> SUBPIXEL_BITS, width - 1),
        top=jnp.maximum((min3(corners.y) + up) >> SUBPIXEL_BITS, 0),
        bottom=jnp.minimum((max3(corners.y) + down) >> SUBPIXEL_BITS, height - 1),
    )
