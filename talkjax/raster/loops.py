"""The form for CPU: triangles sorted by size class, drawn in loops that run as often as there is work.

No list can overflow, and nothing is done for classes that are empty. One frame at a time.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.materialize import stored
from talkjax.raster import depth_key, size_classes, tiles
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.scene import Scene
from talkjax.raster.snap import Corners, gather_rows, pixel_box
from talkjax.raster.triangles import LARGE_CLASS, N_CLASSES, classify, windows
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ROW,
    SIZE_COLUMN,
    depth_plane,
    double_area,
    draw_windows,
    window_rows,
)

CHUNK_PIXELS, MAX_CHUNK = 32_768, 1024
"""Pixels tested, and triangles drawn, at most per loop step."""
MOST_ROWS, STEP_ROWS = 24_576, 16_384
"""Up to MOST_ROWS triangles, all are set up at once and their rows sorted. Of more, only the ids are sorted,
and STEP_ROWS triangles are set up at a time: half of the memory."""
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
    slot, start, count = size_classes.slots(stored(size_class, size_class[0]), N_CLASSES)
    # windows may hang over the last row by almost their own size
    buffer = depth_key.empty(height * width + windows(n)[-1][1] * (width + 1), scene.zero)
    ids = jnp.arange(n, dtype=jnp.int32)
    first_large = start[LARGE_CLASS - 1]
    if n <= MOST_ROWS:
        sorted_ids = jnp.zeros((n,), jnp.int32).at[slot].set(ids, mode="drop")
        table = _rows(scene, gathered, ids).at[sorted_ids].get(mode="promise_in_bounds")
        buffer = _draw_small(buffer, scene, table, start, start + count)
    else:
        # room for the last step to read past the end
        sorted_ids = jnp.zeros((n + STEP_ROWS,), jnp.int32).at[slot].set(ids, mode="drop")

        def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
            done, buffer = state
            own = lax.dynamic_slice(sorted_ids, (done,), (STEP_ROWS,))
            own_rows = [gathered.at[k, own].get(mode="promise_in_bounds") for k in range(3)]
            rows = _rows(scene, jnp.stack(own_rows), own)
            first, end = (jnp.clip(q - done, 0, STEP_ROWS) for q in (start, start + count))
            return done + STEP_ROWS, _draw_small(buffer, scene, rows, first, end)

        _, buffer = lax.while_loop(lambda state: state[0] < first_large, step, (scene.zero, buffer))

    def listed(item: Array) -> Array:
        return sorted_ids.at[first_large + item].get(mode="clip")

    n_large, n_cut = count[LARGE_CLASS - 1], count[LARGE_CLASS]
    buffer = tiles.draw_large(buffer, scene, listed, n_large, n_cut, _LARGE_EFFORT, draw_windows)
    return depth_key.winner(buffer[: height * width]).reshape(height, width)


def _rows(scene: Scene, gathered: Int[Array, "3 n 4"], ids: Int[Array, "n"]) -> Int[Array, "n 16"]:
    """Window rows of the triangles `ids` with these vertex rows; garbage for those that are not small."""
    corners = _stored_corners(gathered)
    area, box = double_area(corners), pixel_box(corners, scene.height, scene.width)
    plane, pixel = depth_plane(corners, area), box.top * scene.width + box.left
    pixel = jnp.clip(pixel, 0, scene.n_pixels - 1)  # rows of another class are read too, and must do no harm
    return window_rows(corners, area, plane, box.left, box.top, box.right, box.bottom, pixel, ids)


def _stored_corners(gathered: Int[Array, "3 n 4"]) -> Corners:
    """The corners as nine columns in memory: each of the sixteen of a window row reads most of them."""
    columns = gathered[:, :, :3].transpose(2, 0, 1)
    x, y, z = stored(columns, gathered[0, 0, 3])
    return Corners(list(x), list(y), list(lax.bitcast_convert_type(z, jnp.float32)))


def _draw_small(
    buffer: KeyBuffer, scene: Scene, table: Int[Array, "n 16"], first: Int[Array, "k"], end: Int[Array, "k"]
) -> KeyBuffer:
    """Draws a table of window rows in which class k has the rows first[k] .. end[k]."""
    for k, window in enumerate(windows(scene.n_faces)):
        buffer = _draw_class(buffer, scene, table, first[k], end[k], window)
    return buffer


def _draw_class(
    buffer: KeyBuffer, scene: Scene, table: Array, first: Array, end: Array, window: tuple[int, int]
) -> KeyBuffer:
    """Draws rows first .. end of the table, all of one class, so many at a time."""
    chunk = min(CHUNK_PIXELS // (window[0] * window[1]), MAX_CHUNK, table.shape[0])

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        begin, buffer = state
        place = jnp.minimum(begin, table.shape[0] - chunk)
        own = place + jnp.arange(chunk, dtype=jnp.int32)
        rows = lax.dynamic_slice(table, (place, 0), (chunk, ROW))
        size = jnp.where((own >= begin) & (own < end), rows[:, SIZE_COLUMN], EMPTY_WINDOW)
        # writing a column, unlike choosing whole rows, keeps XLA from doing it over for each pixel
        rows = rows.at[:, SIZE_COLUMN].set(size)
        return begin + chunk, draw_windows(buffer, rows, window, scene.width)

    return lax.while_loop(lambda state: state[0] < end, step, (first, buffer))[1]
