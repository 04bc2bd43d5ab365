"""The form for GPU: all frames at once, no loop whose end the host must wait for in the common case.

Every triangle's first 4 x 4 px tile is drawn in one step of fixed size. What is left of the small triangles
is a list of further tiles, drawn in big steps (one or two as a rule); the rare large or cut triangles come
last, in the same tiles as on CPU. Same ids as the loops: same rows, same integers, same depths.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.raster import depth_key, tiles
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.scene import Scene
from talkjax.raster.snap import Box, gather_rows
from talkjax.raster.triangles import CUT_CLASS, LARGE_CLASS, classify
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    OFFSET_COLUMN,
    PIXEL_COLUMN,
    SIZE_COLUMN,
    depth_plane,
    test_pixels,
    window_rows,
)

SIDE = 4
"""Side of a tile of a small triangle, px."""
MIN_STEP = 1 << 14
"""Least number of tiles per step: below this a step costs its launches."""
_LARGE_EFFORT = tiles.Effort(faces=512, tiles=2048)


def face_ids(
    verts_clip: Float[Array, "b v 4"], faces4: Int[Array, "f 4"], height: int, width: int, cull: bool
) -> Int[Array, "b h w"]:
    """The visible triangle of each pixel, -1 where there is none."""
    scene = Scene.of(verts_clip, faces4, height, width, cull)
    corners, area, box, size_class = classify(scene, gather_rows(scene.snapped, scene.all_verts()))
    small = (size_class > 0) & (size_class < LARGE_CLASS)
    triangle = jnp.arange(scene.n_triangles, dtype=jnp.int32)
    pixel = scene.first_pixel_of(triangle) + box.top * width + box.left
    plane, face_id = depth_plane(corners, area), scene.face_of(triangle)
    rows = window_rows(corners, area, plane, box.left, box.top, box.right, box.bottom, pixel, face_id)
    rows = rows.at[:, SIZE_COLUMN].set(jnp.where(small, rows[:, SIZE_COLUMN], EMPTY_WINDOW))
    rows = lax.optimization_barrier(rows)  # else its setup is redone for each of the sixteen pixels

    buffer = _draw_pixels(depth_key.empty(scene.n_pixels, scene.zero), rows, (SIDE, SIDE), width)
    buffer = _draw_further_tiles(buffer, scene, rows, box, small)

    # counted in each step: these loops hardly ever run, and then a list costs little
    def listed(item: Array) -> Array:
        is_large, is_cut = size_class == LARGE_CLASS, size_class == CUT_CLASS
        n_large = jnp.cumsum(is_large, dtype=jnp.int32)
        place = jnp.where(is_large, n_large - 1, n_large[-1] + jnp.cumsum(is_cut, dtype=jnp.int32) - 1)
        place = jnp.where(is_large | is_cut, place, scene.n_triangles)
        in_order = jnp.zeros_like(triangle).at[place].set(triangle, mode="drop")
        return in_order.at[item].get(mode="clip")

    n_large = jnp.sum(size_class == LARGE_CLASS, dtype=jnp.int32)
    n_cut = jnp.sum(size_class == CUT_CLASS, dtype=jnp.int32)
    buffer = tiles.draw_large(buffer, scene, listed, n_large, n_cut, _LARGE_EFFORT, _draw_pixels)
    return depth_key.winner(buffer).reshape(-1, height, width)


def _draw_further_tiles(
    buffer: KeyBuffer, scene: Scene, rows: Int[Array, "n 16"], box: Box, small: Array
) -> KeyBuffer:
    """Draws what the first tiles left of the small triangles; a step takes a quarter as many tiles as there
    are triangles."""
    n_across = (box.right - box.left) // SIDE + 1
    n_more = jnp.where(small, n_across * ((box.bottom - box.top) // SIDE + 1) - 1, 0)
    end = jnp.cumsum(n_more, dtype=jnp.int32)  # at most 63 tiles each
    n_step = min(max(scene.n_triangles // 4, MIN_STEP), 63 * scene.n_triangles)

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        first, buffer = state
        work = first + jnp.arange(n_step, dtype=jnp.int32)
        t = jnp.searchsorted(end, work, side="right", method="scan_unrolled").astype(jnp.int32)
        past = t >= scene.n_triangles
        t = jnp.minimum(t, scene.n_triangles - 1)
        tile = work - (end[t] - n_more[t]) + 1
        across = jnp.maximum(n_across[t], 1)
        moved = _moved(rows[t], (tile % across) * SIDE, (tile // across) * SIDE, scene.width)
        moved = moved.at[:, SIZE_COLUMN].set(jnp.where(past, EMPTY_WINDOW, moved[:, SIZE_COLUMN]))
        return first + n_step, _draw_pixels(
            buffer, lax.optimization_barrier(moved), (SIDE, SIDE), scene.width
        )

    return lax.while_loop(lambda state: state[0] < end[-1], step, (scene.zero, buffer))[1]


def _moved(
    rows: Int[Array, "n 16"], right: Int[Array, "n"], down: Int[Array, "n"], width: int
) -> Int[Array, "n 16"]:
    """The same windows begun `right` and `down` pixels later. Depth stays told from the old first pixel, so
    that it keeps its bits."""
    columns = [rows[:, k] for k in range(rows.shape[1])]
    for e in range(3):
        columns[e] = columns[e] + columns[e + 3] * right + columns[e + 6] * down
    columns[SIZE_COLUMN] = columns[SIZE_COLUMN] - (right | (down << 16))
    columns[PIXEL_COLUMN] = columns[PIXEL_COLUMN] + down * width + right
    columns[OFFSET_COLUMN] = right | (down << 16)
    return jnp.stack(columns, axis=-1)


def _draw_pixels(
    buffer: KeyBuffer, rows: Int[Array, "n 16"], window: tuple[int, int], width: int
) -> KeyBuffer:
    """Draws a window of pixels per row one by one; those outside are no writes at all (best on GPU)."""
    depth, inside, face_id = test_pixels(rows, window, offset=True)
    across = lax.broadcasted_iota(jnp.int32, depth.shape, 2)
    pixel = (
        rows[:, PIXEL_COLUMN][:, None, None]
        + across
        + width * lax.broadcasted_iota(jnp.int32, depth.shape, 1)
    )
    return depth_key.draw_pixels(buffer, pixel, depth, face_id, inside)
