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
from jaxtyping import Array, Bool, Int

from talkjax.raster import clip, depth_key
from talkjax.raster.depth_key import KeyBuffer
from talkjax.raster.scene import Scene
from talkjax.raster.snap import Box, Corners, as_corners, gather_rows, pixel_box
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ROW,
    SIZE_COLUMN,
    Plane,
    depth_plane,
    double_area,
    draw_windows,
    window_rows,
)

TILE = 16


class Effort(NamedTuple):
    """How much of the list one loop step takes: little where work is cheap, much where steps are dear."""

    faces: int
    tiles: int


class Pieces(NamedTuple):
    """Large triangles ready to be drawn: int64 corners, depth plane, box, number; not drawn if not seen."""

    corners: Corners
    plane: Plane
    box: Box
    triangle: Int[Array, "n"]
    seen: Bool[Array, "n"]


def draw_large(
    buffer: KeyBuffer,
    scene: Scene,
    listed: Callable[[Array], Array],
    n_large: Int[Array, ""],
    n_cut: Int[Array, ""],
    effort: Effort,
    draw: Callable[[KeyBuffer, Array, int, int], KeyBuffer] = draw_windows,
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
    piece = past_large % clip.PIECES

    def whole(_: None) -> tuple[Corners, Plane, Box, Array]:
        corners = as_corners(gather_rows(scene.snapped, scene.verts_of(triangle)))
        box = pixel_box(corners, scene.height, scene.width)
        x, y = ([q.astype(jnp.int64) for q in axis] for axis in (corners.x, corners.y))
        wide = Corners(x, y, corners.z)
        area = double_area(wide)
        seen = (area < 0) if scene.cull else (area != 0)
        return wide._replace(z=[]), depth_plane(wide, area), box, seen & (item < n_large)

    def mixed(_: None) -> tuple[Corners, Plane, Box, Array]:
        large, parts = whole(None), clip.cut(scene, triangle, piece)
        is_large = item < n_large
        chosen = [jnp.where(is_large, a, b) for a, b in zip(_leaves(large), _leaves(parts), strict=True)]
        x, y, plane, box, seen = chosen[:3], chosen[3:6], chosen[6:11], chosen[11:15], chosen[15]
        seen &= item < n_large + n_cut * clip.PIECES
        return Corners(x, y, []), Plane(*plane), Box(*box), seen

    with depth_key.x64():
        corners, plane, box, seen = lax.cond(n_cut > 0, mixed, whole, None)
    return Pieces(corners, plane, box, triangle, seen)


def _leaves(parts: tuple[Corners, Plane, Box, Array]) -> list[Array]:
    corners, plane, box, seen = parts
    return [*corners.x, *corners.y, *plane, *box, seen]


def _draw_tiles(
    buffer: KeyBuffer,
    scene: Scene,
    pieces: Pieces,
    n: int,
    draw: Callable[[KeyBuffer, Array, int, int], KeyBuffer],
) -> KeyBuffer:
    """Draws the tiles of all pieces, `n` tiles at a time."""
    box = pieces.box
    left, top = box.left // TILE, box.top // TILE
    n_across, n_down = box.right // TILE - left + 1, box.bottom // TILE - top + 1
    visible = pieces.seen & (box.left <= box.right) & (box.top <= box.bottom)
    n_tiles = jnp.where(visible, n_across * n_down, 0)
    end = jnp.cumsum(n_tiles, dtype=jnp.int32)
    nothing = jnp.zeros((n, ROW), jnp.int32).at[:, SIZE_COLUMN].set(EMPTY_WINDOW) + scene.zero

    def tile_rows(first: Array) -> Array:
        """Window rows of the tiles first .. first + n of the list; empty past its end."""
        work = first + jnp.arange(n, dtype=jnp.int32)
        # which piece: how many lists have ended at or before this tile
        t = jnp.sum((end[None, :] <= work[:, None]).astype(jnp.int32), axis=1, dtype=jnp.int32)
        past = t >= end.shape[0]
        t = jnp.minimum(t, end.shape[0] - 1)
        tile, across = work - (end[t] - n_tiles[t]), jnp.maximum(n_across[t], 1)
        column, row = (left[t] + tile % across) * TILE, (top[t] + tile // across) * TILE
        return jnp.where(past[:, None], nothing, piece_rows(scene, pieces, t, column, row))

    def step(state: tuple[Array, Array, KeyBuffer]) -> tuple[Array, Array, KeyBuffer]:
        # Rows are made one step ahead: only a loop's carry keeps XLA from redoing their setup per pixel. The
        # first step draws empty rows: making real ones before the loop would compile their setup twice.
        first, rows, buffer = state
        buffer = draw(buffer, rows, TILE, scene.width)
        return first + n, tile_rows(first), buffer

    last = jnp.where(end[-1] > 0, end[-1] + n, 0)
    return lax.while_loop(lambda state: state[0] < last, step, (scene.zero, nothing, buffer))[2]


def piece_rows(scene: Scene, pieces: Pieces, t: Array, column: Array, row: Array) -> Int[Array, "n 16"]:
    """Window rows of pieces `t` at tiles whose first pixel is (row, column)."""
    with depth_key.x64():
        x, y = ([q[t] for q in axis] for axis in (pieces.corners.x, pieces.corners.y))
        own = Corners(x, y, [])
        pixel = scene.first_pixel_of(pieces.triangle[t]) + row * scene.width + column
        return window_rows(
            own,
            double_area(own),
            Plane(*(q[t] for q in pieces.plane)),
            column,
            row,
            pieces.box.right[t],
            pieces.box.bottom[t],
            pixel,
            scene.face_of(pieces.triangle[t]),
        )
