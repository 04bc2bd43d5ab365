"""Triangles of any size, as 16 x 16 px tiles.

The edge value at a tile's first pixel comes from 64-bit integers, exact for vertices within 32768 px; inside
the tile 32 bits are enough (windows.py). So one pixel of a huge triangle costs what a pixel of a small one
does.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from talkjax.raster import depth_key
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.snap import Corners, gather_corners, pixel_box
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ROW,
    SIZE_COLUMN,
    double_area,
    draw_windows,
    orient,
    window_rows,
)

TILE, STEP_TILES, STEP_FACES = 16, 128, 128


def draw_large(
    buffer: KeyBuffer,
    snapped: Array,
    faces4: Array,
    ids: Array,
    start: Array,
    count: Array,
    height: int,
    width: int,
    cull: bool,
) -> KeyBuffer:
    """Draws the large class as tiles, from lists of (triangle, tile) pairs of STEP_FACES triangles each."""
    chunk = STEP_FACES

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        own_ids = lax.dynamic_slice(ids, (start + i * chunk,), (chunk,))
        corners = gather_corners(snapped, faces4.at[own_ids].get(mode="promise_in_bounds"))
        valid = jnp.arange(chunk, dtype=jnp.int32) < count - i * chunk
        return i + 1, _draw_tiles(buffer, corners, own_ids, valid, height, width, cull)

    return lax.while_loop(lambda state: state[0] * chunk < count, step, (jnp.int32(0), buffer))[1]


def _draw_tiles(
    buffer: KeyBuffer, corners: Corners, ids: Array, valid: Array, height: int, width: int, cull: bool
) -> KeyBuffer:
    """Draws those of `corners` that are `valid`, STEP_TILES tiles at a time."""
    with depth_key.x64():
        wide = corners._replace(
            x=[q.astype(jnp.int64) for q in corners.x], y=[q.astype(jnp.int64) for q in corners.y]
        )
        area = double_area(wide)
        valid &= (area < 0) if cull else (area != 0)
        wide = orient(wide, area)
        area = jnp.abs(area)
    box = pixel_box(corners, height, width)
    n_across = (box.right - box.left + TILE) // TILE
    n_tiles = jnp.where(valid, n_across * ((box.bottom - box.top + TILE) // TILE), 0)
    end = jnp.cumsum(n_tiles)

    nothing = jnp.zeros((STEP_TILES, ROW), jnp.int32).at[:, SIZE_COLUMN].set(EMPTY_WINDOW)

    def tile_rows(first: Array) -> Array:
        """Window rows of the tiles first .. first + STEP_TILES of the list; empty past its end."""
        work = first + jnp.arange(STEP_TILES, dtype=jnp.int32)
        # which triangle: how many lists have ended at or before this tile
        t = jnp.sum((end[None, :] <= work[:, None]).astype(jnp.int32), axis=1, dtype=jnp.int32)
        past = t >= end.shape[0]
        t = jnp.minimum(t, end.shape[0] - 1)
        tile, across = work - (end[t] - n_tiles[t]), jnp.maximum(n_across[t], 1)
        column, row = box.left[t] + (tile % across) * TILE, box.top[t] + (tile // across) * TILE
        with depth_key.x64():
            own = Corners(
                [q[t] for q in wide.x], [q[t] for q in wide.y], [q[t] for q in wide.z], corners.bad[t]
            )
            rows = window_rows(own, area[t], column, row, box.right[t], box.bottom[t], ids[t], width)
        return jnp.where(past[:, None], nothing, rows)

    def step(state: tuple[Array, Array, KeyBuffer]) -> tuple[Array, Array, KeyBuffer]:
        # Rows are made one step ahead: only a loop's carry keeps XLA from redoing their setup per pixel. The
        # first step draws empty rows: making real ones before the loop would compile their setup twice.
        first, rows, buffer = state
        buffer = draw_windows(buffer, rows, TILE, width)
        return first + STEP_TILES, tile_rows(first), buffer

    last = end[-1] + STEP_TILES
    return lax.while_loop(lambda state: state[0] < last, step, (jnp.int32(0), nothing, buffer))[2]
