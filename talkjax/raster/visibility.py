"""Which triangle is seen at each pixel: an integer question, asked outside of differentiation.

Triangles are sorted into size classes. Small ones (up to 32 px) are drawn as one window each, many at a time;
all others as tiles (tiles.py). Loops run as often as there is work, so no list can overflow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.raster import depth_key, size_classes, tiles
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.snap import ONE_PIXEL, Corners, gather_corners, max3, min3, pixel_box, snap_verts
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ID_COLUMN,
    ROW,
    SIZE_COLUMN,
    double_area,
    draw_windows,
    orient,
    window_rows,
)

WINDOWS = (4, 8, 16, 32)
"""Window sides of the small classes, px."""
CHUNKS = (8192, 2048, 512, 128)
"""Triangles drawn per loop step in each small class."""
SMALL_EXTENT = 64 * ONE_PIXEL
"""Largest side of a small triangle before it is cut to the image: its edge values fit int32."""
LARGE = 1 << 20


@functools.cache
def visibility(height: int, width: int, cull: bool) -> Callable[[Array, Array], Array]:
    """The function (verts_clip [b v 4], faces4 [f 4]) -> face_id [b h w], compiled once per shape.

    Frames, and whatever vmap adds, become a loop: batching the inner loops would run every frame as long as
    the slowest, masked (30 times slower).
    """
    one = jax.custom_batching.custom_vmap(functools.partial(_face_id, height=height, width=width, cull=cull))

    def frames(verts_clip: Array, faces4: Array) -> Array:
        if verts_clip.shape[0] == 1:  # inside of a loop XLA's CPU code keeps to a single thread
            return one(verts_clip[0], faces4)[None]
        return lax.map(lambda verts: one(verts, faces4), verts_clip)

    @one.def_vmap
    def loop(axis_size, in_batched, verts_clip, faces4):  # type: ignore[no-untyped-def]
        if not in_batched[1]:
            return frames(verts_clip, faces4), True
        if not in_batched[0]:
            verts_clip = jnp.broadcast_to(verts_clip, (axis_size, *verts_clip.shape))
        return lax.map(lambda frame: one(*frame), (verts_clip, faces4)), True

    return jax.jit(frames)


def _face_id(
    verts_clip: Float[Array, "v 4"], faces4: Int[Array, "f 4"], *, height: int, width: int, cull: bool
) -> Int[Array, "h w"]:
    if faces4.shape[0] == 0:
        return jnp.full((height, width), -1, jnp.int32)
    snapped = snap_verts(verts_clip, height, width)
    corners = gather_corners(snapped, faces4)
    table, start, count = _sorted_windows(corners, height, width, cull)
    # windows may hang over the last row by almost their own size
    buffer = depth_key.empty(height * width + WINDOWS[-1] * (width + 1))
    n_padded = -(-faces4.shape[0] // 16) * 16  # chunks need not be longer than the mesh
    for k, (side, chunk) in enumerate(zip(WINDOWS, CHUNKS, strict=True)):
        buffer = _draw_class(buffer, table, start[k], count[k], side, min(chunk, n_padded), width)
    ids = table[:, ID_COLUMN]
    buffer = tiles.draw_large(buffer, snapped, faces4, ids, start[-1], count[-1], height, width, cull)
    return depth_key.winner(buffer[: height * width]).reshape(height, width)


def _sorted_windows(
    corners: Corners, height: int, width: int, cull: bool
) -> tuple[Int[Array, "m 16"], Int[Array, "k"], Int[Array, "k"]]:
    """Window rows of all drawable triangles ordered by class; in the last, large one only the id is meant."""
    n = corners.x[0].shape[0]
    box = pixel_box(corners, height, width)
    area = double_area(corners)
    extent = jnp.maximum(max3(corners.x) - min3(corners.x), max3(corners.y) - min3(corners.y))
    side = jnp.maximum(box.right - box.left, box.bottom - box.top) + 1
    # on the image a huge triangle may show a small corner only: int32 is a question of the whole extent
    large = (side > WINDOWS[-1]) | (extent > SMALL_EXTENT)
    facing = (area < 0) if cull else (area != 0)
    drawn = (box.left <= box.right) & (box.top <= box.bottom) & (corners.bad == 0) & (large | facing)
    side = jnp.where(drawn, jnp.where(large, LARGE, side), 0)
    size_class = size_classes.classify(side, (*WINDOWS, LARGE))
    slot, start, count = size_classes.slots(size_class, len(WINDOWS) + 1)
    ids, oriented = jnp.arange(n, dtype=jnp.int32), orient(corners, area)
    rows = window_rows(oriented, jnp.abs(area), box.left, box.top, box.right, box.bottom, ids, width)
    # room for the last chunk to read past the end
    table = jnp.zeros((n + max(CHUNKS), ROW), jnp.int32).at[slot].set(rows, mode="drop")
    return table, start, count


def _draw_class(
    buffer: KeyBuffer, table: Array, start: Array, count: Array, side: int, chunk: int, width: int
) -> KeyBuffer:
    """Draws one class of small triangles, `chunk` at a time."""

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        rows = lax.dynamic_slice(table, (start + i * chunk, 0), (chunk, ROW))
        beyond = jnp.arange(chunk, dtype=jnp.int32) >= count - i * chunk
        rows = rows.at[:, SIZE_COLUMN].set(jnp.where(beyond, EMPTY_WINDOW, rows[:, SIZE_COLUMN]))
        return i + 1, draw_windows(buffer, rows, side, width)

    return lax.while_loop(lambda state: state[0] * chunk < count, step, (jnp.int32(0), buffer))[1]
