"""A window: K x K pixels tested against one triangle. 16 integers say everything the pixel loop needs.

Row layout: values of three edges, their steps right, their steps down; depth at the first pixel and its two
slopes (float bits); packed size, first pixel's number, face index, packed offset. An edge value is
floor(E / 256) at the window's first pixel center, E being the integer edge function in 1/65536 px^2 with the
fill rule's bias already in. One pixel further, E changes by 256 * step exactly, so floor(E / 256) + steps
keeps the sign of E and needs 8 bits less.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from talkjax.raster import depth_key
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.snap import HALF_PIXEL, ONE_PIXEL, SUBPIXEL_BITS, Corners

ROW = 16
SIZE_COLUMN, PIXEL_COLUMN, ID_COLUMN, OFFSET_COLUMN = 12, 13, 14, 15
EMPTY_WINDOW = -1
"""Value of the size column that draws nothing; the row's first pixel must still be one of the image."""
EMPTY_ROW = np.eye(ROW, dtype=np.int32)[SIZE_COLUMN] * EMPTY_WINDOW
"""A whole row that draws nothing."""
_VALUE_LIMIT = 1 << 30
_SLOPE_MASK = ~0x1F
"""Slopes keep 19 bits: times up to 31 pixels they are exact, so a fused multiply-add changes nothing."""


class Plane(NamedTuple):
    """NDC depth z at the point (x, y) (1/256 px) and its slopes per 1/256 px to the right and down."""

    x: Int[Array, "n"]
    y: Int[Array, "n"]
    z: Float[Array, "n"]
    right: Float[Array, "n"]
    down: Float[Array, "n"]


def double_area(corners: Corners) -> Int[Array, "n"]:
    """Twice the signed area. y is down: negative is counter-clockwise with y up, which is front-facing."""
    x, y = corners.x, corners.y
    return (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])


def depth_plane(corners: Corners, area: Int[Array, "n"]) -> Plane:
    """The plane through three snapped corners of twice-area `area` (either sign; garbage where it is 0)."""
    f32 = jnp.float32
    x, y, z = corners.x, corners.y, corners.z
    inverse = 1.0 / jnp.where(area == 0, 1, area).astype(f32)
    z1, z2 = z[1] - z[0], z[2] - z[0]
    x1, x2 = (x[1] - x[0]).astype(f32), (x[2] - x[0]).astype(f32)
    y1, y2 = (y[1] - y[0]).astype(f32), (y[2] - y[0]).astype(f32)
    return Plane(x[0], y[0], z[0], (z1 * y2 - z2 * y1) * inverse, (z2 * x1 - z1 * x2) * inverse)


def window_rows(
    corners: Corners,
    area: Int[Array, "n"],
    plane: Plane,
    column: Int[Array, "n"],
    row: Int[Array, "n"],
    last_column: Int[Array, "n"],
    last_row: Int[Array, "n"],
    pixel: Int[Array, "n"],
    face_id: Int[Array, "n"],
) -> Int[Array, "n 16"]:
    """Rows of windows whose first pixel is (row, column), number `pixel`, and that end at (last_row,
    last_column) or at K.

    `corners` are in the integer type in which edge values at that pixel cannot overflow: int32 for triangles
    of up to 64 px, int64 (inside `depth_key.x64`) for any other. `area` is their twice-area.
    """
    x, y = corners.x, corners.y
    center_x = column.astype(x[0].dtype) * ONE_PIXEL + HALF_PIXEL
    center_y = row.astype(x[0].dtype) * ONE_PIXEL + HALF_PIXEL
    # the inside has positive edge values: walk the other way round where the area is negative
    x, y = ([q[0], jnp.where(area < 0, q[2], q[1]), jnp.where(area < 0, q[1], q[2])] for q in (x, y))
    edges = [_edge(x[i], y[i], x[j], y[j], center_x, center_y) for i, j in ((1, 2), (2, 0), (0, 1))]
    columns = [edge[part] for part in range(3) for edge in edges]
    dx, dy = (center_x - plane.x).astype(jnp.float32), (center_y - plane.y).astype(jnp.float32)
    columns.append(lax.bitcast_convert_type(plane.z + plane.right * dx + plane.down * dy, jnp.int32))
    for slope in (plane.right, plane.down):
        columns.append(lax.bitcast_convert_type(slope * ONE_PIXEL, jnp.int32) & _SLOPE_MASK)
    size = (last_column - column) | ((last_row - row) << 16)
    columns += [size, pixel, face_id, jnp.zeros_like(face_id)]
    return jnp.stack(columns, axis=-1)


def _edge(
    x: Array, y: Array, next_x: Array, next_y: Array, center_x: Array, center_y: Array
) -> tuple[Int[Array, "n"], Int[Array, "n"], Int[Array, "n"]]:
    """Value at a pixel center, step right and step down of the edge from (x, y) to the next corner."""
    right, down = y - next_y, next_x - x
    # top-left rule: a center exactly on an edge is inside only if that edge is a left or a top one
    outside = jnp.where((right > 0) | ((right == 0) & (down > 0)), 0, -1).astype(right.dtype)
    value = right * (center_x - x) + down * (center_y - y) + outside
    # beyond the limit the sign cannot change inside a window (steps < 2^24, K <= 32)
    value = jnp.clip(value >> SUBPIXEL_BITS, -_VALUE_LIMIT, _VALUE_LIMIT)
    return value.astype(jnp.int32), right.astype(jnp.int32), down.astype(jnp.int32)


def test_pixels(
    rows: Int[Array, "n 16"], window: tuple[int, int], offset: bool = False
) -> tuple[Float[Array, "n d a"], Bool[Array, "n d a"], Int[Array, "n 1 1"]]:
    """Depth of a window of pixels per row, whether they are inside of its triangle, and its face.

    `offset`: depth is told from a first pixel that lies OFFSET_COLUMN before the window's.
    """
    n, (across, down) = rows.shape[0], window

    def col(i: int) -> Array:
        return rows[:, i][:, None, None]

    def depth_col(i: int) -> Array:
        return lax.bitcast_convert_type(col(i), jnp.float32)

    # (windows, K, K): pixels minor; the other order costs three times as much
    c = lax.broadcasted_iota(jnp.int32, (n, down, across), 2)
    r = lax.broadcasted_iota(jnp.int32, (n, down, across), 1)
    edges = [col(e) + col(e + 3) * c + col(e + 6) * r for e in range(3)]
    extent = col(SIZE_COLUMN)
    # an empty window (-1) has a negative height
    inside = ((edges[0] | edges[1] | edges[2]) >= 0) & (c <= (extent & 0xFFFF)) & (r <= (extent >> 16))
    if offset:
        c, r = c + (col(OFFSET_COLUMN) & 0xFFFF), r + (col(OFFSET_COLUMN) >> 16)
    depth = depth_col(9) + depth_col(10) * c.astype(jnp.float32) + depth_col(11) * r.astype(jnp.float32)
    return depth, inside, col(ID_COLUMN)


def draw_windows(
    buffer: KeyBuffer, rows: Int[Array, "n 16"], window: tuple[int, int], width: int
) -> KeyBuffer:
    """Draws a window (width, height) of pixels per row, a run of pixels at a time (best on CPU)."""
    depth, inside, face_id = test_pixels(rows, window)
    first_pixel = rows[:, PIXEL_COLUMN][:, None] + width * jnp.arange(window[1], dtype=jnp.int32)
    return depth_key.draw_rows(buffer, first_pixel, depth, face_id, inside)
