"""A window: K x K pixels tested against one triangle. 16 integers say everything the pixel loop needs.

Row layout: three edges of (value, step right, step down), depth at the first pixel and its two slopes (float
bits), packed size, first pixel's index, triangle id, spare. An edge value is floor(E / 256) at the window's
first pixel center, E being the integer edge function in 1/65536 px^2 with the fill rule's bias already in.
One pixel further, E changes by 256 * step exactly, so floor(E / 256) + steps keeps the sign of E and needs 8
bits less.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from talkjax.raster import depth_key
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.snap import HALF_PIXEL, ONE_PIXEL, SUBPIXEL_BITS, Corners

ROW = 16
SIZE_COLUMN, PIXEL_COLUMN, ID_COLUMN = 12, 13, 14
EMPTY_WINDOW = -1
"""Value of the size column that draws nothing; the row's first pixel must still be one of the image."""
_VALUE_LIMIT = 1 << 30


def double_area(corners: Corners) -> Int[Array, "n"]:
    """Twice the signed area. y is down: negative is counter-clockwise with y up, which is front-facing."""
    x, y = corners.x, corners.y
    return (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])


def orient(corners: Corners, area: Int[Array, "n"]) -> Corners:
    """Swaps corners 1 and 2 where the area is negative, so that the inside has positive edge values."""
    swap = area < 0

    def swapped(a: list[Array]) -> list[Array]:
        return [a[0], jnp.where(swap, a[2], a[1]), jnp.where(swap, a[1], a[2])]

    return Corners(swapped(corners.x), swapped(corners.y), swapped(corners.z), corners.bad)


def window_rows(
    corners: Corners,
    area: Int[Array, "n"],
    column: Int[Array, "n"],
    row: Int[Array, "n"],
    last_column: Int[Array, "n"],
    last_row: Int[Array, "n"],
    face_id: Int[Array, "n"],
    width: int,
) -> Int[Array, "n 16"]:
    """Rows of windows whose first pixel is (row, column) and that end at (last_row, last_column) or at K.

    `corners` are oriented and in the integer type in which edge values at that pixel cannot overflow: int32
    for triangles of up to 64 px, int64 (inside `depth_key.x64`) for any other. `area` is the positive double
    area.
    """
    x, y = corners.x, corners.y
    center_x = column.astype(x[0].dtype) * ONE_PIXEL + HALF_PIXEL
    center_y = row.astype(x[0].dtype) * ONE_PIXEL + HALF_PIXEL
    columns = []
    for i, j in ((1, 2), (2, 0), (0, 1)):
        right, down = y[i] - y[j], x[j] - x[i]
        # top-left rule: a center exactly on an edge is inside only if that edge is a left or a top one
        outside = jnp.where((right > 0) | ((right == 0) & (down > 0)), 0, -1).astype(right.dtype)
        value = right * (center_x - x[i]) + down * (center_y - y[i]) + outside
        # beyond the limit the sign cannot change inside a window (steps < 2^24, K <= 32)
        value = jnp.clip(value >> SUBPIXEL_BITS, -_VALUE_LIMIT, _VALUE_LIMIT)
        columns += [value.astype(jnp.int32), right.astype(jnp.int32), down.astype(jnp.int32)]
    plane = _depth_plane(corners, area, center_x, center_y)
    columns += [lax.bitcast_convert_type(q, jnp.int32) for q in plane]
    size = (last_column - column) | ((last_row - row) << 16)
    columns += [size, row * width + column, face_id, jnp.zeros_like(face_id)]
    return jnp.stack(columns, axis=-1)


def _depth_plane(corners: Corners, area: Array, center_x: Array, center_y: Array) -> list[Array]:
    """NDC depth at a pixel center, and its change per pixel to the right and down."""
    f32 = jnp.float32
    x, y, z = corners.x, corners.y, corners.z
    inverse = 1.0 / jnp.maximum(area, 1).astype(f32)
    z1, z2 = z[1] - z[0], z[2] - z[0]
    x1, x2 = (x[1] - x[0]).astype(f32), (x[2] - x[0]).astype(f32)
    y1, y2 = (y[1] - y[0]).astype(f32), (y[2] - y[0]).astype(f32)
    right, down = (z1 * y2 - z2 * y1) * inverse, (z2 * x1 - z1 * x2) * inverse
    first = z[0] + right * (center_x - x[0]).astype(f32) + down * (center_y - y[0]).astype(f32)
    return [first, right * ONE_PIXEL, down * ONE_PIXEL]


def draw_windows(buffer: KeyBuffer, rows: Int[Array, "n 16"], size: int, width: int) -> KeyBuffer:
    """Tests `size` x `size` pixels per row and draws those inside."""
    n = rows.shape[0]

    def col(i: int) -> Array:
        return rows[:, i][:, None, None]

    def depth_col(i: int) -> Array:
        return lax.bitcast_convert_type(col(i), jnp.float32)

    # (windows, K, K): pixels minor; the other order costs three times as much
    c = lax.broadcasted_iota(jnp.int32, (n, size, size), 2)
    r = lax.broadcasted_iota(jnp.int32, (n, size, size), 1)
    edges = [col(e) + col(e + 1) * c + col(e + 2) * r for e in (0, 3, 6)]
    extent = col(SIZE_COLUMN)
    # an empty window (-1) has a negative height
    inside = ((edges[0] | edges[1] | edges[2]) >= 0) & (c <= (extent & 0xFFFF)) & (r <= (extent >> 16))
    depth = depth_col(9) + depth_col(10) * c.astype(jnp.float32) + depth_col(11) * r.astype(jnp.float32)
    first_pixel = rows[:, PIXEL_COLUMN][:, None] + width * jnp.arange(size, dtype=jnp.int32)
    return depth_key.draw_rows(buffer, first_pixel, depth, col(ID_COLUMN), inside)
