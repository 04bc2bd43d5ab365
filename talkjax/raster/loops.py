"""The form for CPU: triangles sorted by size class, drawn in loops that run as often as there is work.

No list can overflow, and nothing is done for classes that are empty. One frame at a time.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.raster import depth_key, size_classes, tiles
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.scene import Scene
from talkjax.raster.snap import as_corners, gather_rows, pixel_box
from talkjax.raster.triangles import LARGE_CLASS, N_CLASSES, WINDOWS, classify
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    PIXEL_COLUMN,
    ROW,
    SIZE_COLUMN,
    depth_plane,
    double_area,
    draw_windows,
    window_rows,
)

CHUNKS = (8192, 2048, 512, 128)
"""Triangles drawn per loop step in each small class."""
ROWS = 16384 + 8192
"""Triangles set up at a time: what lies in the cache, and all of a mesh of 20,000."""
_LARGE_EFFORT = tiles.Effort(faces=128, tiles=128)


def face_ids(
    verts_clip: Float[Array, "b v 4"], faces4: Int[Array, "f 4"], height: int, width: int, cull: bool
) -> Int[Array, "b h w"]:
    """The visible triangle of each pixel, -1 where there is none."""

    def one(verts: Array) -> Array:
        return _face_id(Scene.of(verts[None], faces4, height, width, cull))

    if verts_clip.shape[0] == 1:  # inside of a loop XLA's CPU code keeps to a single thread
        return one(verts_clip[0])[None]
    return lax.map(one, verts_clip)


def _face_id(scene: Scene) -> Int[Array, "h w"]:
    height, width, n = scene.height, scene.width, scene.n_faces
    gathered = gather_rows(scene.snapped, scene.all_verts())
    size_class = classify(scene, gathered).size_class
    slot, start, count = size_classes.slots(size_class, N_CLASSES)
    n_rows = min(-(-n // 16) * 16, ROWS)
    ids = jnp.arange(n, dtype=jnp.int32)
    # room for the last step to read past the end
    ids = jnp.zeros((n + n_rows,), jnp.int32).at[slot].set(ids, mode="drop")

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        rows = _rows(scene, gathered, lax.dynamic_slice(ids, (i * n_rows,), (n_rows,)))
        for k, (side, chunk) in enumerate(zip(WINDOWS, CHUNKS, strict=True)):
            first = jnp.clip(start[k] - i * n_rows, 0, n_rows)
            end = jnp.clip(start[k] + count[k] - i * n_rows, 0, n_rows)
            buffer = _draw_class(buffer, scene, rows, first, end, side, min(chunk, n_rows))
        return i + 1, buffer

    # windows may hang over the last row by almost their own size
    state = (scene.zero, depth_key.empty(height * width + WINDOWS[-1] * (width + 1), scene.zero))
    if n <= n_rows:  # inside of a loop XLA's CPU code keeps to a single thread
        _, buffer = step(state)
    else:
        n_small = start[LARGE_CLASS - 1]
        _, buffer = lax.while_loop(lambda state: state[0] * n_rows < n_small, step, state)

    def listed(item: Array) -> Array:
        return ids.at[start[LARGE_CLASS - 1] + item].get(mode="clip")

    n_large, n_cut = count[LARGE_CLASS - 1], count[LARGE_CLASS]
    buffer = tiles.draw_large(buffer, scene, listed, n_large, n_cut, _LARGE_EFFORT, draw_windows)
    return depth_key.winner(buffer[: height * width]).reshape(height, width)


def _rows(scene: Scene, gathered: Int[Array, "3 f 4"], ids: Int[Array, "n"]) -> Int[Array, "n 16"]:
    """Window rows of the given triangles; garbage for those that are not small."""
    places = jnp.stack([ids, ids + scene.n_faces, ids + 2 * scene.n_faces])
    corners = as_corners(gather_rows(gathered.reshape(-1, 4), places))
    area, box = double_area(corners), pixel_box(corners, scene.height, scene.width)
    plane, pixel = depth_plane(corners, area), box.top * scene.width + box.left
    return window_rows(corners, area, plane, box.left, box.top, box.right, box.bottom, pixel, ids)


def _draw_class(
    buffer: KeyBuffer, scene: Scene, table: Array, first: Array, end: Array, side: int, chunk: int
) -> KeyBuffer:
    """Draws rows first .. end of the table, all of one class, `chunk` at a time."""

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        begin = first + i * chunk
        place = jnp.minimum(begin, table.shape[0] - chunk)
        rows = lax.dynamic_slice(table, (place, 0), (chunk, ROW))
        own = place + jnp.arange(chunk, dtype=jnp.int32)
        own_class = (own >= begin) & (own < end)
        rows = rows.at[:, SIZE_COLUMN].set(jnp.where(own_class, rows[:, SIZE_COLUMN], EMPTY_WINDOW))
        rows = rows.at[:, PIXEL_COLUMN].set(jnp.where(own_class, rows[:, PIXEL_COLUMN], 0))
        return i + 1, draw_windows(buffer, rows, side, scene.width)

    return lax.while_loop(lambda state: first + state[0] * chunk < end, step, (scene.zero, buffer))[1]
