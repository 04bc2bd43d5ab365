"""The form for TPU: no scatter. Groups of 128 triangles (meshlets) against tiles of 16 x 8 pixels.

A program of the Pallas kernel holds one tile: its 128 pixels lie in the sublanes, a meshlet's 128 triangles
in the lanes, so that one vector step tests eight pixels against 128 triangles. Each pixel keeps the best
depth and face per lane; the lanes are reduced once, at the end. Which meshlets touch a tile is a list; a tile
with more of them than the list holds goes through all meshlets, so nothing is ever dropped.

Rows, integers and depths are those of the other forms, so are the ids: the smaller depth wins, then the lower
face index.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from talkjax.raster import tiles
from talkjax.raster.scene import Scene
from talkjax.raster.snap import Box, gather_rows
from talkjax.raster.triangles import CUT_CLASS, LARGE_CLASS, classify
from talkjax.raster.windows import (
    EMPTY_WINDOW,
    ID_COLUMN,
    OFFSET_COLUMN,
    ROW,
    SIZE_COLUMN,
    depth_plane,
    window_rows,
)

LANES = 128
TILE_WIDTH, TILE_HEIGHT = 16, 8
LISTED = 64
"""Meshlets that a tile's list holds."""
STRIPE_TILES = 512
"""Most tiles per kernel call (unless one row of tiles has more): their lists share the scalar memory."""
_FAR, _NOBODY = 0x7FFFFFFF, 0x7FFFFFFF


def face_ids(
    verts_clip: Float[Array, "b v 4"],
    faces4: Int[Array, "f 4"],
    height: int,
    width: int,
    cull: bool,
    interpret: bool | None = None,
) -> Int[Array, "b h w"]:
    """The visible triangle of each pixel, -1 where there is none. `interpret`: run the kernel as plain XLA
    (default: unless on TPU)."""
    if interpret is None:
        interpret = jax.default_backend() != "tpu"
    one = functools.partial(
        _face_id, faces4=faces4, height=height, width=width, cull=cull, interpret=interpret
    )
    return lax.map(one, verts_clip)


def _face_id(
    verts: Float[Array, "v 4"], *, faces4: Array, height: int, width: int, cull: bool, interpret: bool
) -> Int[Array, "h w"]:
    scene = Scene.of(verts[None], faces4, height, width, cull)
    triangles = classify(scene, gather_rows(scene.snapped, scene.all_verts()))
    table, box = _meshlets(triangles, LARGE_CLASS)
    order = jnp.argsort(_rank(triangles.size_class), stable=True).astype(jnp.int32)
    n_large = jnp.sum(triangles.size_class == LARGE_CLASS, dtype=jnp.int32)
    n_cut = jnp.sum(triangles.size_class == CUT_CLASS, dtype=jnp.int32)

    def listed(item: Array) -> Array:
        return order.at[item].get(mode="clip")

    across = -(-width // TILE_WIDTH)
    # an even number of tile rows per stripe: a tile of the large class is as high as two of them
    stripe_rows = min(max(STRIPE_TILES // across // 2 * 2, 2), -(-height // 16) * 2)
    n_stripes = -(-height // (TILE_HEIGHT * stripe_rows))

    def stripe(k: Array) -> Array:
        first_row = k * stripe_rows
        depth, face = _draw_listed(table, box, first_row, stripe_rows, across, interpret)

        def draw_large(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            i, depth, face = state
            pieces = tiles.pieces_of(scene, listed, n_large, n_cut, i * LANES, LANES)
            own = _large_table(scene, pieces, first_row, stripe_rows, across)
            large = _draw_own(own, first_row, stripe_rows, across, interpret)
            return i + 1, *_nearer((depth, face), large)

        n_items = n_large + n_cut * tiles.clip.PIECES
        start = (scene.zero, depth, face)
        _, _, face = lax.while_loop(lambda state: state[0] * LANES < n_items, draw_large, start)
        face = face.reshape(stripe_rows, across, TILE_HEIGHT, TILE_WIDTH).transpose(0, 2, 1, 3)
        return face.reshape(stripe_rows * TILE_HEIGHT, across * TILE_WIDTH)

    face = lax.map(stripe, jnp.arange(n_stripes, dtype=jnp.int32) + scene.zero)
    face = face.reshape(-1, across * TILE_WIDTH)[:height, :width]
    return jnp.where(face == _NOBODY, -1, face)


def _rank(size_class: Int[Array, "n"]) -> Int[Array, "n"]:
    """Large triangles first, then those to be cut, then the others."""
    return jnp.where(size_class == LARGE_CLASS, 0, jnp.where(size_class == CUT_CLASS, 1, 2))


def _meshlets(triangles: tuple, first_not_small: int) -> tuple[Int[Array, "m 16 128"], Box]:
    """Window rows of the small triangles by meshlet, one column of integers per lane, and the meshlets'
    boxes. Neighbors on the image (Morton order of the boxes' centers) share a meshlet."""
    corners, area, box, size_class = triangles
    n = area.shape[0]
    small = (size_class > 0) & (size_class < first_not_small)
    zeros, face = jnp.zeros_like(area), jnp.arange(n, dtype=jnp.int32)
    rows = window_rows(
        corners, area, depth_plane(corners, area), box.left, box.top, box.right, box.bottom, zeros, face
    )
    rows = rows.at[:, OFFSET_COLUMN].set(box.left | (box.top << 16))
    rows = rows.at[:, SIZE_COLUMN].set(jnp.where(small, rows[:, SIZE_COLUMN], EMPTY_WINDOW))
    code = _morton((box.left + box.right) >> 3, (box.top + box.bottom) >> 3)
    order = jnp.argsort(jnp.where(small, code, jnp.int32(0x7FFFFFFF)))
    pad = -n % LANES
    nothing = jnp.zeros((pad, ROW), jnp.int32).at[:, SIZE_COLUMN].set(EMPTY_WINDOW)
    table = jnp.concatenate([rows[order], nothing]).reshape(-1, LANES, ROW).transpose(0, 2, 1)

    def over_meshlet(q: Array, unused: int, reduce) -> Array:  # type: ignore[no-untyped-def]
        padded = jnp.pad(jnp.where(small, q, unused)[order], (0, pad), constant_values=unused)
        return reduce(padded.reshape(-1, LANES), axis=1)

    far = 1 << 20
    return table, Box(
        left=over_meshlet(box.left, far, jnp.min),
        right=over_meshlet(box.right, -1, jnp.max),
        top=over_meshlet(box.top, far, jnp.min),
        bottom=over_meshlet(box.bottom, -1, jnp.max),
    )


def _morton(x: Int[Array, "n"], y: Int[Array, "n"]) -> Int[Array, "n"]:
    """Interleaved bits of two numbers below 2^15."""

    def spread(q: Array) -> Array:
        for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
            q = (q | (q << shift)) & mask
        return q

    return spread(x & 0x7FFF) | (spread(y & 0x7FFF) << 1)


def _draw_listed(
    table: Int[Array, "m 16 128"], box: Box, first_row: Array, n_rows: int, across: int, interpret: bool
) -> tuple[Int[Array, "t 128"], Int[Array, "t 128"]]:
    """Sortable depth and face of the pixels of `n_rows` rows of tiles, small triangles only."""
    n_tiles, n_meshlets = n_rows * across, table.shape[0]
    tile = jnp.arange(n_tiles, dtype=jnp.int32)
    left = ((tile % across) * TILE_WIDTH)[:, None]
    top = ((first_row + tile // across) * TILE_HEIGHT)[:, None]
    touches = (box.left < left + TILE_WIDTH) & (box.right >= left)
    touches &= (box.top < top + TILE_HEIGHT) & (box.bottom >= top)
    count = jnp.sum(touches, axis=1, dtype=jnp.int32)
    n_listed = min(LISTED, n_meshlets)
    # the first meshlets that touch: larger is earlier, 0 is none
    earliest = lax.top_k(
        jnp.where(touches, n_meshlets - jnp.arange(n_meshlets, dtype=jnp.int32), 0), n_listed
    )[0]
    listed = jnp.where(earliest > 0, n_meshlets - earliest, 0)
    n_steps = jnp.where(count > n_listed, n_meshlets, count)

    def which(t, j, first_row, n_steps, listed):  # type: ignore[no-untyped-def]
        spilled = n_steps[t] > n_listed
        # past its end a tile asks for the block that it has: nothing is fetched
        place = jnp.clip(j, 0, jnp.maximum(n_steps[t] - 1, 0))
        return jnp.where(spilled, place, listed[t * n_listed + jnp.minimum(place, n_listed - 1)]), 0, 0

    return _call(which, (n_tiles, jnp.max(n_steps)), across, table, first_row, n_steps, listed, interpret)


def _draw_own(
    table: Int[Array, "t 16 128"], first_row: Array, n_rows: int, across: int, interpret: bool
) -> tuple[Int[Array, "t 128"], Int[Array, "t 128"]]:
    """The same with one meshlet of its own for each pair of tiles, one above the other."""

    def which(t, j, first_row, n_steps, listed):  # type: ignore[no-untyped-def]
        del j, first_row, n_steps, listed
        return lax.div(t, jnp.int32(2 * across)) * across + lax.rem(t, jnp.int32(across)), 0, 0

    one_step = jnp.ones((n_rows * across,), jnp.int32)
    none = jnp.zeros((1, 1), jnp.int32)
    return _call(which, (n_rows * across, jnp.int32(1)), across, table, first_row, one_step, none, interpret)


def _call(which, grid, across, table, first_row, n_steps, listed, interpret):  # type: ignore[no-untyped-def]
    n_tiles, most_steps = grid
    out = pl.BlockSpec((1, 1, LANES), lambda t, j, *_: (t, 0, 0))
    pixels = (LANES, LANES)
    depth, face = pl.pallas_call(
        functools.partial(_kernel, across=across),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(n_tiles, jnp.maximum(most_steps, 1)),
            in_specs=[pl.BlockSpec((1, ROW, LANES), which)],
            out_specs=[out, out],
            scratch_shapes=[pltpu.VMEM(pixels, jnp.int32), pltpu.VMEM(pixels, jnp.int32)],
        ),
        out_shape=[jax.ShapeDtypeStruct((n_tiles, 1, LANES), jnp.int32)] * 2,
        interpret=interpret,
    )(first_row.reshape(1), n_steps, listed.reshape(-1), table)
    return depth[:, 0], face[:, 0]


def _kernel(  # type: ignore[no-untyped-def]
    first_row_ref, n_steps_ref, listed_ref, table_ref, depth_ref, face_ref, best_depth, best_face, *, across
):
    """One meshlet (lanes) against one tile (sublanes)."""
    del listed_ref
    t, j = pl.program_id(0), pl.program_id(1)

    @pl.when(j == 0)
    def _() -> None:
        best_depth[...] = jnp.full((LANES, LANES), _FAR, jnp.int32)
        best_face[...] = jnp.full((LANES, LANES), _NOBODY, jnp.int32)

    @pl.when(j < n_steps_ref[t])
    def _() -> None:
        def col(i: int) -> Array:
            return table_ref[0, i : i + 1, :]

        pixel = lax.broadcasted_iota(jnp.int32, (LANES, LANES), 0)
        offset, extent, face = col(OFFSET_COLUMN), col(SIZE_COLUMN), col(ID_COLUMN)
        left = lax.rem(t, jnp.int32(across)) * TILE_WIDTH
        top = (first_row_ref[0] + lax.div(t, jnp.int32(across))) * TILE_HEIGHT
        c = (pixel & (TILE_WIDTH - 1)) + (left - (offset & 0xFFFF))
        r = (pixel >> 4) + (top - (offset >> 16))
        edges = [col(e) + col(e + 3) * c + col(e + 6) * r for e in range(3)]
        inside = (edges[0] | edges[1] | edges[2] | c | r) >= 0
        inside &= (c <= (extent & 0xFFFF)) & (r <= (extent >> 16))
        z, right, down = (lax.bitcast_convert_type(col(i), jnp.float32) for i in (9, 10, 11))
        depth = z + right * c.astype(jnp.float32) + down * r.astype(jnp.float32)
        bits = lax.bitcast_convert_type(depth, jnp.int32)
        bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # float order as integer order
        better = (bits < best_depth[...]) | ((bits == best_depth[...]) & (face < best_face[...]))
        better &= inside
        best_depth[...] = jnp.where(better, bits, best_depth[...])
        best_face[...] = jnp.where(better, face, best_face[...])

    @pl.when(j == pl.num_programs(1) - 1)
    def _() -> None:
        depth, face = best_depth[...].T, best_face[...].T
        nearest = jnp.min(depth, axis=0, keepdims=True)
        depth_ref[0] = nearest
        face_ref[0] = jnp.min(jnp.where(depth == nearest, face, _NOBODY), axis=0, keepdims=True)


def _large_table(
    scene: Scene, pieces: tiles.Pieces, first_row: Array, n_rows: int, across: int
) -> Int[Array, "t 16 128"]:
    """Window rows of 128 pieces at every 16 x 16 tile of the stripe."""
    n = (n_rows // 2) * across
    tile = jnp.arange(n, dtype=jnp.int32)
    column, row = (tile % across) * tiles.TILE, (first_row // 2 + tile // across) * tiles.TILE
    piece = jnp.tile(jnp.arange(LANES, dtype=jnp.int32), n)
    rows = tiles.piece_rows(scene, pieces, piece, jnp.repeat(column, LANES), jnp.repeat(row, LANES))
    seen = jnp.tile(pieces.n_tiles > 0, n)
    rows = rows.at[:, SIZE_COLUMN].set(jnp.where(seen, rows[:, SIZE_COLUMN], EMPTY_WINDOW))
    rows = rows.at[:, OFFSET_COLUMN].set(jnp.repeat(column | (row << 16), LANES))
    return rows.reshape(n, LANES, ROW).transpose(0, 2, 1)


def _nearer(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """Per pixel the smaller (depth, face)."""
    first = (a[0] < b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
    return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])
