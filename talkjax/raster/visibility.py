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
from talkjax.raster.scene import Scene
from talkjax.raster.snap import (
    INVALID,
    ONE_PIXEL,
    Box,
    Corners,
    as_corners,
    gather_rows,
    max3,
    min3,
    pixel_box,
)
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ID_COLUMN,
    ROW,
    SIZE_COLUMN,
    depth_plane,
    double_area,
    draw_windows,
    window_rows,
)

WINDOWS = (4, 8, 16, 32)
"""Window sides of the small classes, px."""
CHUNKS = (8192, 2048, 512, 128)
"""Triangles drawn per loop step in each small class."""
LARGE_EFFORT = tiles.Effort(128, 128)
"""Large triangles and tiles per loop step: few of either is the usual case."""
SMALL_EXTENT = 64 * ONE_PIXEL
"""Largest side of a small triangle before it is cut to the image: its edge values fit int32."""
LARGE, TO_BE_CUT = 1 << 20, 1 << 21
"""Sides that stand for the two classes that are not windows."""


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
    scene = Scene.of(verts_clip[None], faces4, height, width, cull)
    table, start, count = _sorted_windows(scene)
    # windows may hang over the last row by almost their own size
    buffer = depth_key.empty(height * width + WINDOWS[-1] * (width + 1), scene.zero)
    n_padded = -(-faces4.shape[0] // 16) * 16  # chunks need not be longer than the mesh
    for k, (side, chunk) in enumerate(zip(WINDOWS, CHUNKS, strict=True)):
        buffer = _draw_class(buffer, scene, table, start[k], count[k], side, min(chunk, n_padded))

    def listed(item: Array) -> Array:
        return table.at[start[-2] + item, ID_COLUMN].get(mode="clip")

    buffer = tiles.draw_large(buffer, scene, listed, count[-2], count[-1], LARGE_EFFORT)
    return depth_key.winner(buffer[: height * width]).reshape(height, width)


def _sorted_windows(scene: Scene) -> tuple[Int[Array, "m 16"], Int[Array, "k"], Int[Array, "k"]]:
    """Window rows of all drawable triangles ordered by class; in the last two (large, to be cut) only the id
    is meant."""
    n = scene.n_faces
    gathered = gather_rows(scene.snapped, scene.all_verts())
    corners, area, box, size_class = classify(scene, gathered)
    slot, start, count = size_classes.slots(size_class, len(WINDOWS) + 2)
    ids = jnp.arange(n, dtype=jnp.int32)
    pixel = box.top * scene.width + box.left
    plane = depth_plane(corners, area)
    rows = window_rows(corners, area, plane, box.left, box.top, box.right, box.bottom, pixel, ids)
    # room for the last chunk to read past the end
    table = jnp.zeros((n + max(CHUNKS), ROW), jnp.int32).at[slot].set(rows, mode="drop")
    return table, start, count


def classify(
    scene: Scene, gathered: Int[Array, "3 n 4"]
) -> tuple[Corners, Int[Array, "n"], Box, Int[Array, "n"]]:
    """Corners, twice-area (garbage for large ones), box and class of each triangle: 0 not drawn, then one
    class per window side, then large, then to be cut."""
    corners, flags = as_corners(gathered), gathered[:, :, 3]
    any_flag, all_flags = flags[0] | flags[1] | flags[2], flags[0] & flags[1] & flags[2]
    box = pixel_box(corners, scene.height, scene.width)
    area = double_area(corners)
    extent = jnp.maximum(max3(corners.x) - min3(corners.x), max3(corners.y) - min3(corners.y))
    side = jnp.maximum(box.right - box.left, box.bottom - box.top) + 1
    # on the image a huge triangle may show a small corner only: int32 is a question of the whole extent
    large = (side > WINDOWS[-1]) | (extent > SMALL_EXTENT)
    facing = (area < 0) if scene.cull else (area != 0)
    drawn = (box.left <= box.right) & (box.top <= box.bottom) & (any_flag == 0) & (large | facing)
    side = jnp.where(drawn, jnp.where(large, LARGE, side), 0)
    # cut what is partly outside; all of it beyond one plane, or one bad vertex: nothing to see
    is_cut = (any_flag != 0) & (all_flags == 0) & ((any_flag & INVALID) == 0)
    side = jnp.where(is_cut, TO_BE_CUT, side)
    return corners, area, box, size_classes.classify(side, (*WINDOWS, LARGE, TO_BE_CUT))


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
