"""Triangles of any size, as 16 x 16 px tiles of a grid fixed to the image; also the pieces of cut triangles.

The edge value at a tile's first pixel comes from 64-bit integers, exact for vertices within 32768 px; inside
the tile 32 bits are enough (windows.py). So one pixel of a huge triangle costs what a pixel of a small one
does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from talkjax.raster import clip, depth_key
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.scene import Scene
from talkjax.raster.snap import Box, Corners, as_corners, gather_rows, pixel_box
from talkjax.raster.windows import (
    EMPTY_ROW,
    ROW,
    depth_plane,
    double_area,
    window_rows,
)

_TILE_BITS = 4
TILE = 1 << _TILE_BITS


class Effort(NamedTuple):
    """How much of the list one loop step takes: little where work is cheap, much where steps are dear."""

    faces: int
    tiles: int


class Pieces(NamedTuple):
    """Large triangles and pieces of cut ones: snapped vertex rows, number, tiles to draw (0: not seen)."""

    gathered: Int[Array, "3 n 4"]
    triangle: Int[Array, "n"]
    n_tiles: Int[Array, "n"]


def draw_large(
    buffer: KeyBuffer,
    scene: Scene,
    listed: Callable[[Array], Array],
    n_large: Int[Array, ""],
    n_cut: Int[Array, ""],
    effort: Effort,
    draw: Callable[[KeyBuffer, Array, int, int], KeyBuffer],
) -> KeyBuffer:
    """Draws the `n_large` large triangles and then the `n_cut` triangles to be cut that `listed` names.

    `listed(i)` is the number of the i-th of them.
    """

    def step(state: tuple[Array, KeyBuffer]) -> tuple[Array, KeyBuffer]:
        i, buffer = state
        pieces = pieces_of(scene, listed, n_large, n_cut, i * effort.faces, effort.faces)
        return i + 1, _draw_tiles(buffer, scene, pieces, effort.tiles, draw)

    n_items = n_large + n_cut * clip.PIECES
    return lax.while_loop(lambda state: state[0] * effort.faces < n_items, step, (scene.zero, buffer))[1]


def pieces_of(
    scene: Scene, listed: Callable[[Array], Array], n_large: Array, n_cut: Array, first: Array, n: int
) -> Pieces:
    """Items first .. first + n of the list of large triangles and of the pieces of those to be cut."""
    item = first + jnp.arange(n, dtype=jnp.int32)
    past_large = jnp.maximum(item - n_large, 0)
    triangle = listed(jnp.where(item < n_large, item, n_large + past_large // clip.PIECES))
    gathered = gather_rows(scene.snapped, scene.verts_of(triangle))
    with depth_key.x64():

        def with_cut(gathered: Array) -> Array:
            cut = clip.cut(scene, triangle, past_large % clip.PIECES)
            return jnp.where((item < n_large)[:, None], gathered, cut)

        gathered = lax.cond(n_cut > 0, with_cut, lambda gathered: gathered, gathered)
        corners = as_corners(gathered)
        area = double_area(_widened(corners))
        seen = ((area < 0) if scene.cull else (area != 0)) & (gathered[0, :, 3] == 0)
    seen &= item < n_large + n_cut * clip.PIECES
    box, n_across, n_down = _tile_box(scene, corners)
    seen &= (box.left <= box.right) & (box.top <= box.bottom)
    return Pieces(gathered, triangle, jnp.where(seen, n_across * n_down, 0))


def _widened(corners: Corners) -> Corners:
    """The same in 64-bit integers (inside of `depth_key.x64`)."""
    x, y = ([q.astype(jnp.int64) for q in axis] for axis in (corners.x, corners.y))
    return Corners(x, y, corners.z)


def _tile_box(scene: Scene, corners: Corners) -> tuple[Box, Array, Array]:
    """Box in pixels, and how many tiles it touches across and down."""
    box = pixel_box(corners, scene.height, scene.width)
    n_across = (box.right >> _TILE_BITS) - (box.left >> _TILE_BITS) + 1
    return box, n_across, (box.bottom >> _TILE_BITS) - (box.top >> _TILE_BITS) + 1


def _draw_tiles(
    buffer: KeyBuffer,
    scene: Scene,
    pieces: Pieces,
    n: int,
    draw: Callable[[KeyBuffer, Array, int, int], KeyBuffer],
) -> KeyBuffer:
    """Draws the tiles of all pieces, `n` tiles at a time."""
    end = jnp.cumsum(pieces.n_tiles, dtype=jnp.int32)

    def tile_rows(first: Array) -> Array:
        """Window rows of the tiles first .. first + n of the list; empty past its end."""
        work = first + jnp.arange(n, dtype=jnp.int32)
        # which piece: how many lists have ended at or before this tile; where its own list began
        ended = end[None, :] <= work[:, None]
        t = jnp.sum(ended.astype(jnp.int32), axis=1, dtype=jnp.int32)
        tile = work - jnp.max(jnp.where(ended, end[None, :], 0), axis=1)
        rows = piece_rows(scene, pieces, jnp.minimum(t, end.shape[0] - 1), tile=tile)
        return jnp.where((t >= end.shape[0])[:, None], EMPTY_ROW, rows)

    def step(state: tuple[Array, Array, KeyBuffer]) -> tuple[Array, Array, KeyBuffer]:
        # Rows are made one step ahead: only a loop's carry keeps XLA from redoing their setup per pixel. The
        # first step draws empty rows: making real ones before the loop would compile their setup twice.
        first, rows, buffer = state
        buffer = draw(buffer, rows, (TILE, TILE), scene.width)
        return first + n, tile_rows(first), buffer

    last = jnp.where(end[-1] > 0, end[-1] + n, 0)
    nothing = jnp.broadcast_to(EMPTY_ROW, (n, ROW)) + scene.zero
    return lax.while_loop(lambda state: state[0] < last, step, (scene.zero, nothing, buffer))[2]


def piece_rows(
    scene: Scene,
    pieces: Pieces,
    t: Int[Array, "n"],
    column: Int[Array, "n"] | None = None,
    row: Int[Array, "n"] | None = None,
    *,
    tile: Int[Array, "n"] | None = None,
) -> Int[Array, "n 16"]:
    """Window rows of pieces `t` at the tiles whose first pixel is (row, column), or at their tile number
    `tile`."""
    corners = as_corners(pieces.gathered.at[:, t].get(mode="promise_in_bounds"))
    triangle = pieces.triangle.at[t].get(mode="promise_in_bounds")
    box, n_across, _ = _tile_box(scene, corners)
    if tile is not None:
        down = lax.div(tile, jnp.maximum(n_across, 1))
        column = ((box.left >> _TILE_BITS) + tile - down * n_across) << _TILE_BITS
        row = ((box.top >> _TILE_BITS) + down) << _TILE_BITS
    assert column is not None and row is not None
    pixel = scene.first_pixel_of(triangle) + row * scene.width + column
    face = scene.face_of(triangle)
    with depth_key.x64():
        wide = _widened(corners)
        area = double_area(wide)
        plane = depth_plane(wide, area)
        return window_rows(wide, area, plane, column, row, box.right, box.bottom, pixel, face)
