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
from talkjax.raster.snap import Corners, as_corners, gather_rows, pixel_box
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ROW,
    SIZE_COLUMN,
    Plane,
    depth_plane,
    double_area,
    window_rows,
)

TILE = 16


class Effort(NamedTuple):
    """How much of the list one loop step takes: little where work is cheap, much where steps are dear."""

    faces: int
    tiles: int


class Pieces(NamedTuple):
    """Large triangles ready to be drawn, as rows of integers (one gather fetches all of a piece)."""

    rows: Int[Array, "n 16"]
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
    """Items first .. first + n of the list of large triangles and of the pieces of those to be cut.

    Columns: corners x, x, x, y, y, y; the depth plane's x, y, z, right, down; last pixel of the box (column,
    row); first tile (column and row packed); triangle.
    """
    item = first + jnp.arange(n, dtype=jnp.int32)
    past_large = jnp.maximum(item - n_large, 0)
    triangle = listed(jnp.where(item < n_large, item, n_large + past_large // clip.PIECES))
    piece = past_large % clip.PIECES
    corners = as_corners(gather_rows(scene.snapped, scene.verts_of(triangle)))
    with depth_key.x64():
        area = double_area(widened(corners))
        seen = ((area < 0) if scene.cull else (area != 0)) & (item < n_large)
        plane = depth_plane(corners, area)
        whole = _packed(scene, corners.x + corners.y, plane, triangle, seen)

        def with_cut(whole: tuple[Array, Array]) -> tuple[Array, Array]:
            points, plane, seen = clip.cut(scene, triangle, piece)
            seen &= (item >= n_large) & (item < n_large + n_cut * clip.PIECES)
            cut = _packed(scene, points, plane, triangle, seen)
            is_large = item < n_large
            return jnp.where(is_large[:, None], whole[0], cut[0]), jnp.where(is_large, whole[1], cut[1])

        return Pieces(*lax.cond(n_cut > 0, with_cut, lambda whole: whole, whole))


def widened(corners: Corners) -> Corners:
    """The same in 64-bit integers (inside of `depth_key.x64`)."""
    return Corners([q.astype(jnp.int64) for q in corners.x], [q.astype(jnp.int64) for q in corners.y], [])


def _packed(
    scene: Scene, points: list[Array], plane: Plane, triangle: Array, seen: Array
) -> tuple[Int[Array, "n 16"], Int[Array, "n"]]:
    box = pixel_box(Corners(points[:3], points[3:], []), scene.height, scene.width)
    left, top = box.left // TILE, box.top // TILE
    n_tiles = (box.right // TILE - left + 1) * (box.bottom // TILE - top + 1)
    seen = seen & (box.left <= box.right) & (box.top <= box.bottom)
    bits = [lax.bitcast_convert_type(q, jnp.int32) for q in (plane.z, plane.right, plane.down)]
    columns = [*points, plane.x, plane.y, *bits, box.right, box.bottom, left | (top << 16), triangle]
    columns.append(jnp.zeros_like(triangle))
    return jnp.stack([q.astype(jnp.int32) for q in columns], axis=-1), jnp.where(seen, n_tiles, 0)


def _draw_tiles(
    buffer: KeyBuffer,
    scene: Scene,
    pieces: Pieces,
    n: int,
    draw: Callable[[KeyBuffer, Array, int, int], KeyBuffer],
) -> KeyBuffer:
    """Draws the tiles of all pieces, `n` tiles at a time."""
    end = jnp.cumsum(pieces.n_tiles, dtype=jnp.int32)
    listed = pieces.rows.at[:, 15].set(end - pieces.n_tiles)
    nothing = jnp.zeros((n, ROW), jnp.int32).at[:, SIZE_COLUMN].set(EMPTY_WINDOW) + scene.zero

    def tile_rows(first: Array) -> Array:
        """Window rows of the tiles first .. first + n of the list; empty past its end."""
        work = first + jnp.arange(n, dtype=jnp.int32)
        # which piece: how many lists have ended at or before this tile
        t = jnp.sum((end[None, :] <= work[:, None]).astype(jnp.int32), axis=1, dtype=jnp.int32)
        own = listed.at[jnp.minimum(t, end.shape[0] - 1)].get(mode="promise_in_bounds")
        left, top, tile = own[:, 13] & 0xFFFF, own[:, 13] >> 16, work - own[:, 15]
        n_across = jnp.maximum((own[:, 11] >> 4) - left + 1, 1)
        down = tile // n_across
        rows = piece_rows(scene, own, (left + tile - down * n_across) * TILE, (top + down) * TILE)
        return jnp.where((t >= end.shape[0])[:, None], nothing, rows)

    def step(state: tuple[Array, Array, KeyBuffer]) -> tuple[Array, Array, KeyBuffer]:
        # Rows are made one step ahead: only a loop's carry keeps XLA from redoing their setup per pixel. The
        # first step draws empty rows: making real ones before the loop would compile their setup twice.
        first, rows, buffer = state
        buffer = draw(buffer, rows, TILE, scene.width)
        return first + n, tile_rows(first), buffer

    last = jnp.where(end[-1] > 0, end[-1] + n, 0)
    return lax.while_loop(lambda state: state[0] < last, step, (scene.zero, nothing, buffer))[2]


def piece_rows(
    scene: Scene, own: Int[Array, "n 16"], column: Int[Array, "n"], row: Int[Array, "n"]
) -> Int[Array, "n 16"]:
    """Window rows of pieces at tiles whose first pixel is (row, column)."""
    q = [own[:, k] for k in range(15)]
    z, right, down = (lax.bitcast_convert_type(bits, jnp.float32) for bits in q[8:11])
    pixel = scene.first_pixel_of(q[14]) + row * scene.width + column
    with depth_key.x64():
        corners = widened(Corners(q[:3], q[3:6], []))
        plane = Plane(q[6], q[7], z, right, down)
        area = double_area(corners)
        return window_rows(corners, area, plane, column, row, q[11], q[12], pixel, scene.face_of(q[14]))
