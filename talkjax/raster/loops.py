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
from talkjax.raster.snap import gather_rows
from talkjax.raster.triangles import LARGE_CLASS, N_CLASSES, WINDOWS, classify
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ID_COLUMN,
    ROW,
    SIZE_COLUMN,
    depth_plane,
    draw_windows,
    window_rows,
)

CHUNKS = (8192, 2048, 512, 128)
"""Triangles drawn per loop step in each small class."""
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
    height, width = scene.height, scene.width
    table, start, count = _sorted_windows(scene)
    # windows may hang over the last row by almost their own size
    buffer = depth_key.empty(height * width + WINDOWS[-1] * (width + 1), scene.zero)
    n_padded = -(-scene.n_faces // 16) * 16  # chunks need not be longer than the mesh
    for k, (side, chunk) in enumerate(zip(WINDOWS, CHUNKS, strict=True)):
        buffer = _draw_class(buffer, scene, table, start[k], count[k], side, min(chunk, n_padded))

    def listed(item: Array) -> Array:
        return table.at[start[LARGE_CLASS - 1] + item, ID_COLUMN].get(mode="clip")

    n_large, n_cut = count[LARGE_CLASS - 1], count[LARGE_CLASS]
    buffer = tiles.draw_large(buffer, scene, listed, n_large, n_cut, _LARGE_EFFORT, draw_windows)
    return depth_key.winner(buffer[: height * width]).reshape(height, width)


def _sorted_windows(scene: Scene) -> tuple[Int[Array, "m 16"], Int[Array, "k"], Int[Array, "k"]]:
    """Window rows of all drawable triangles ordered by class; in the last two (large, to be cut) only the id
    is meant."""
    n = scene.n_faces
    corners, area, box, size_class = classify(scene, gather_rows(scene.snapped, scene.all_verts()))
    slot, start, count = size_classes.slots(size_class, N_CLASSES)
    ids = jnp.arange(n, dtype=jnp.int32)
    pixel = box.top * scene.width + box.left
    plane = depth_plane(corners, area)
    rows = window_rows(corners, area, plane, box.left, box.top, box.right, box.bottom, pixel, ids)
    # room for the last chunk to read past the end
    table = jnp.zeros((n + max(CHUNKS), ROW), jnp.int32).at[slot].set(rows, mode="drop")
    return table, start, count


def _draw_class(
    buffer: KeyBuffer, scene: Scene, table: Array, start: Array, count: Array, side: int, chunk: int
) -> KeyBuffer:
    """Draws one class of small triangles, `chunk` at a time."""

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        rows = lax.dynamic_slice(table, (start + i * chunk, 0), (chunk, ROW))
        beyond = jnp.arange(chunk, dtype=jnp.int32) >= count - i * chunk
        rows = rows.at[:, SIZE_COLUMN].set(jnp.where(beyond, EMPTY_WINDOW, rows[:, SIZE_COLUMN]))
        return i + 1, draw_windows(buffer, rows, side, scene.width)

    return lax.while_loop(lambda state: state[0] * chunk < count, step, (scene.zero, buffer))[1]
