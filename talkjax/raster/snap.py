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
"""Triangles are cut this far (32768 px) from the image center: exactness ends there."""
MAX_COORDINATE = 1e9
"""Vertices with a larger clip coordinate are not drawn: products of them would leave float32."""

INVALID = 1
"""Flag of a vertex whose triangles are dropped: NaN, infinite, huge, or at the eye itself."""
NEAR, RIGHT, LEFT, ABOVE, BELOW = 2, 4, 8, 16, 32
"""Flags of a vertex outside of the near plane or one of the guard planes: its triangles are cut."""


class Corners(NamedTuple):
    """Three snapped corners per triangle: x right, y down (1/256 px), NDC depth."""

    x: list[Int[Array, "n"]]
    y: list[Int[Array, "n"]]
    z: list[Float[Array, "n"]]


class Box(NamedTuple):
    """Inclusive range of pixel centers inside a triangle's bounding box and the image; empty if max < min."""

    left: Int[Array, "n"]
    right: Int[Array, "n"]
    top: Int[Array, "n"]
    bottom: Int[Array, "n"]


def snap_verts(verts_clip: Float[Array, "v 4"], height: int, width: int) -> Int[Array, "v 4"]:
    """Rows (x, y in 1/256 px, bits of NDC z, flags); x, y, z mean nothing where a flag is set.

    Flagged coordinates are replaced by zero before the conversion to integers, which is undefined for them.
    Adding the image center after rounding keeps the result free of fused multiply-add, hence the same
    everywhere.
    """
    vx, vy, vz, w = (verts_clip[:, i] for i in range(4))
    # comparisons with NaN are false
    valid = (jnp.abs(verts_clip) <= MAX_COORDINATE).all(-1) & ((w != 0) | (vx != 0) | (vy != 0))
    ahead = w > 0
    safe_w = jnp.where(ahead & valid, w, 1.0)
    x = jnp.rint((vx / safe_w) * (HALF_PIXEL * width))
    y = jnp.rint((-vy / safe_w) * (HALF_PIXEL * height))
    flags = jnp.where(vz < -w, NEAR, 0)
    # a point with w <= 0 is outside of at least one of two opposite planes x <= g w and -x <= g w
    reach_x, reach_y = w * (GUARD / (HALF_PIXEL * width)), w * (GUARD / (HALF_PIXEL * height))
    for flag, snapped, value, reach in (
        (RIGHT, x, vx, reach_x),
        (LEFT, -x, -vx, reach_x),
        (ABOVE, -y, vy, reach_y),
        (BELOW, y, -vy, reach_y),
    ):
        flags = flags | jnp.where(jnp.where(ahead, snapped >= GUARD, value > reach), flag, 0)
    flags = jnp.where(valid, flags, INVALID).astype(jnp.int32)
    inside = flags == 0
    column = jnp.where(inside, x, 0.0).astype(jnp.int32) + HALF_PIXEL * width
    row = jnp.where(inside, y, 0.0).astype(jnp.int32) + HALF_PIXEL * height
    z = jnp.where(inside, vz / safe_w, 0.0)
    return jnp.stack([column, row, lax.bitcast_convert_type(z, jnp.int32), flags], axis=-1)


def gather_rows(snapped: Int[Array, "v 4"], verts: Int[Array, "3 n"]) -> Int[Array, "3 n 4"]:
    """The snapped rows of each triangle's three vertices, in one gather."""
    rows = snapped.at[verts.reshape(-1)].get(mode="promise_in_bounds")
    return rows.reshape(3, verts.shape[1], 4)


def as_corners(rows: Int[Array, "3 n 4"]) -> Corners:
    """Gathered rows by meaning."""
    z = lax.bitcast_convert_type(rows[:, :, 2], jnp.float32)
    return Corners(*([q[i] for i in range(3)] for q in (rows[:, :, 0], rows[:, :, 1], z)))


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
