"""Which edge of the mesh separates which two neighboring pixels: chosen outside of differentiation.

A pixel pair is a pixel and its right (first half of all pair numbers) or lower neighbor. Per frame:
triangles are sorted into front, back and absent; edges where front meets back, or where the mesh ends, are
the silhouette; its crossings with the lines between neighboring pixel centers are tested against what is seen
there; per pair the outermost one stays. Work is listed and looped over in chunks as often as there is any:
nothing overflows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from talkjax.materialize import stored
from talkjax.raster import depth_key, size_classes
from talkjax.raster.edges import Edges
from talkjax.raster.segments import Segment, cross, in_view, is_steep, lines_crossed, segment, to_pixels
from talkjax.raster.snap import HALF_PIXEL, MAX_COORDINATE, ONE_PIXEL

EDGE_CHUNK, CROSSING_CHUNK = 512, 1024
ABSENT, FRONT, BACK = 0, 1, 2
BLOCKS = -2
"""Tag of a crossing of a steep edge with a column, or of a flat one with a row. Such an edge is mixed in the
other direction; here it only keeps edges behind it, further in, from counting the same outline twice."""


class Frame(NamedTuple):
    """What one image shows: clip vertices [v 4], depth [h w], face_id [h w]."""

    verts_clip: Array
    depth: Array
    face_id: Array


class Found(NamedTuple):
    """Winning crossings, one per entry: the pair's number and 2 * edge + (1 if the surface is at the pair's
    second pixel), or -1. `complete` is false if there were more crossings than entries; `everywhere` has them
    all."""

    pair: Int[Array, "m"]
    edge: Int[Array, "m"]
    complete: Array
    key: depth_key.KeyBuffer

    def everywhere(self) -> Found:
        """The same with one entry for each pixel pair, hence complete."""
        pair = jnp.broadcast_to(jnp.arange(self.key.shape[-1], dtype=jnp.int32), self.key.shape)
        return self._replace(pair=pair, edge=depth_key.kept_tag(self.key))


@functools.cache
def silhouette(capacity: int, cull: bool) -> Callable[..., Found]:
    """The function (Frame with a leading batch, faces4, edges) -> Found with `capacity` entries, batched.

    Frames, and whatever vmap adds, become a loop, as in `visibility`.
    """
    one = jax.custom_batching.custom_vmap(functools.partial(_find, capacity=capacity, cull=cull))

    def frames(seen: Frame, faces4: Array, edges: Edges) -> Found:
        if seen.face_id.shape[0] == 1:
            return jax.tree.map(lambda x: x[None], one(jax.tree.map(lambda x: x[0], seen), faces4, edges))
        return lax.map(lambda frame: one(frame, faces4, edges), seen)

    @one.def_vmap
    def loop(axis_size, in_batched, seen, faces4, edges):  # type: ignore[no-untyped-def]
        def spread(x, batched):  # type: ignore[no-untyped-def]
            return x if batched else jnp.broadcast_to(x, (axis_size, *jnp.shape(x)))

        out_batched = Found(*[True] * 4)  # type: ignore[arg-type]
        if any(jax.tree.leaves(in_batched[1:])):
            everything = jax.tree.map(spread, (seen, faces4, edges), tuple(in_batched))
            return lax.map(lambda args: one(*args), everything), out_batched
        return frames(jax.tree.map(spread, seen, in_batched[0]), faces4, edges), out_batched

    return frames


def _find(seen: Frame, faces4: Array, edges: Edges, *, capacity: int, cull: bool) -> Found:
    height, width = seen.face_id.shape
    facing = _facing(seen, faces4, cull)
    facing = stored(facing, facing[0])
    listed, count = _outline(facing, edges)
    zero = facing[-1] * 0  # under shard_map, loops must start from what varies as the frames do
    state = _Winners(
        key=depth_key.nothing_kept(2 * height * width, zero),
        pair=jnp.zeros((capacity,), jnp.int32) + zero,
        edge=jnp.zeros((capacity,), jnp.int32) + zero,
        n_listed=zero,
    )

    def step(state: tuple[Array, _Winners]) -> tuple[Array, _Winners]:
        i, winners = state
        entry = lax.dynamic_slice(listed, (i * EDGE_CHUNK,), (EDGE_CHUNK,))
        entry = jnp.where(i * EDGE_CHUNK + jnp.arange(EDGE_CHUNK, dtype=jnp.int32) < count, entry, -1)
        return i + 1, _cross_all(winners, entry, seen, edges)

    state = lax.while_loop(lambda s: s[0] * EDGE_CHUNK < count, step, (zero, state))[1]
    entries = jnp.arange(capacity, dtype=jnp.int32)
    wins = (entries < state.n_listed) & (depth_key.kept_tag(state.key[state.pair]) == state.edge)
    return Found(state.pair, jnp.where(wins, state.edge, -1), state.n_listed <= capacity, state.key)


def _facing(seen: Frame, faces4: Int[Array, "f 4"], cull: bool) -> Int[Array, "f+1"]:
    """FRONT, BACK or ABSENT (not drawn) per triangle, and ABSENT for "no triangle".

    Any rounding may decide a triangle without area: the silhouette stays closed whichever way. Vertices
    behind the camera are mirrored by the division; each turns the sense of the area.
    """
    verts_clip, (height, width) = seen.verts_clip, seen.face_id.shape
    x, y, z, w = (verts_clip[:, i] for i in range(4))
    finite = (jnp.abs(verts_clip) <= MAX_COORDINATE).all(axis=-1)  # false for NaN
    in_front = (z >= -w) & (w > 0)
    # 1 before the near plane, else half of the sign of w; NaN poisons a triangle's area
    sense = jnp.where(in_front, 1.0, jnp.where(w < 0, -0.5, 0.5))
    safe = jnp.where(jnp.abs(w) > 1e-6, w, 1e-6)
    px = jnp.where(finite, x / safe * width, jnp.nan)
    py = jnp.where(finite, -y / safe * height, jnp.nan)
    table = jnp.stack([px, py, sense, jnp.zeros_like(px)], axis=-1)
    table = stored(table, seen.face_id[0, 0] + 1)
    corner = table.at[faces4[:, :3].T.reshape(-1)].get(mode="promise_in_bounds").reshape(3, -1, 4)
    cx, cy, cs = corner[..., 0], corner[..., 1], corner[..., 2]
    area = (cx[1] - cx[0]) * (cy[2] - cy[0]) - (cx[2] - cx[0]) * (cy[1] - cy[0])
    area = area * (cs[0] * cs[1] * cs[2])
    drawn = ~jnp.isnan(area) & (jnp.maximum(jnp.maximum(cs[0], cs[1]), cs[2]) == 1)
    code = jnp.where(area < 0, FRONT, ABSENT if cull else BACK)
    return jnp.concatenate([jnp.where(drawn, code, ABSENT), jnp.zeros((1,), code.dtype)]).astype(jnp.int32)


def _outline(facing: Int[Array, "f+1"], edges: Edges) -> tuple[Int[Array, "m"], Int[Array, ""]]:
    """The silhouette's edges as 2 * edge + (1 if the surface is to the left of it, y up), and how many."""
    side = facing.at[jnp.asarray(edges.faces)].get(mode="promise_in_bounds")
    here, front = side != ABSENT, side == FRONT
    # faces that walk their edge in opposite directions agree about what is front
    same_way = jnp.asarray(edges.same_way)
    folds = front[0] != (front[1] ^ same_way)
    is_outline = (here[0] != here[1]) | (here[0] & here[1] & folds)
    left = jnp.where(here[0], front[0], ~(front[1] ^ same_way))
    slot, count = _slots(is_outline)
    n = is_outline.shape[0]
    entry = 2 * jnp.arange(n, dtype=jnp.int32) + left
    return jnp.zeros((n + EDGE_CHUNK,), jnp.int32).at[slot].set(entry, mode="drop"), count


def _slots(chosen: Bool[Array, "n"]) -> tuple[Int[Array, "n"], Int[Array, ""]]:
    """Place of each chosen entry among the chosen, NOWHERE for the others; and how many there are. Bit counts
    stand in for XLA's slow cumulative sum."""
    n = chosen.shape[0]
    words = jnp.pad(chosen, (0, -n % 32)).reshape(-1, 32)
    bit = jnp.uint32(1) << jnp.arange(32, dtype=jnp.uint32)
    word = jnp.sum(jnp.where(words, bit, 0), axis=1, dtype=jnp.uint32)
    count = lax.population_count(word).astype(jnp.int32)
    end = jnp.cumsum(count)
    before = lax.population_count(word[:, None] & (bit - 1)).astype(jnp.int32) + (end - count)[:, None]
    return jnp.where(chosen, before.reshape(-1)[:n], size_classes.NOWHERE), end[-1]


class _Winners(NamedTuple):
    """Per pair the best key so far; and a list of all crossings that were seen, of which `n_listed`
    would be."""

    key: depth_key.KeyBuffer
    pair: Int[Array, "m"]
    edge: Int[Array, "m"]
    n_listed: Int[Array, ""]


def _cross_all(winners: _Winners, entry: Int[Array, "k"], seen: Frame, edges: Edges) -> _Winners:
    """Adds the crossings of a chunk of silhouette edges."""
    height, width = seen.face_id.shape
    used = entry >= 0
    edge = jnp.maximum(entry, 0) >> 1
    ends = jnp.asarray(edges.verts)[edge]
    a, b, visible = in_view(
        jnp.where(used[:, None], seen.verts_clip[ends[:, 0]], 1.0),
        jnp.where(used[:, None], seen.verts_clip[ends[:, 1]], 1.0),
    )
    part = jnp.asarray(edges.part)[jnp.asarray(edges.faces)[0, edge]]
    pa, pb = to_pixels(a, height, width), to_pixels(b, height, width)
    # every edge twice, cut by rows and by columns
    by_rows = jnp.broadcast_to(jnp.array([[True], [False]]), (2, EDGE_CHUNK))
    counts = is_steep(pa, pb) == by_rows
    s = jax.vmap(segment, in_axes=(None, None, 0))(pa, pb, by_rows)
    first, end = lines_crossed(s, height, width)
    n_lines = jnp.where(used & visible, end - first, 0.0).astype(jnp.int32).reshape(-1)
    total = jnp.cumsum(n_lines)
    # the surface is on the side of larger coordinates
    beyond = ((s.along[1] > s.along[0]) == by_rows) == ((entry & 1) == 1)
    start = first.reshape(-1) - (total - n_lines)
    rows = jnp.stack([q.reshape(-1) for q in (*s.along, *s.across, *s.depth)] + [start], axis=-1)
    tag = jnp.where(counts, 2 * edge + beyond, BLOCKS)
    columns = [tag, by_rows, beyond, jnp.broadcast_to(part, by_rows.shape)]
    marks = jnp.stack([c.astype(jnp.int32).reshape(-1) for c in columns], axis=-1)

    def step(state: tuple[Array, _Winners]) -> tuple[Array, _Winners]:
        start, winners = state
        k = start + jnp.arange(CROSSING_CHUNK, dtype=jnp.int32)
        # the owner of crossing k: how many have ended at or before it
        ended = jnp.maximum(total - start, 0)
        owner = jnp.cumsum(jnp.zeros_like(k).at[ended].add(1, mode="drop"))
        used = owner < total.shape[0]
        owner = jnp.minimum(owner, total.shape[0] - 1)
        winners = _keep(winners, rows[owner], marks[owner], k, used, seen, edges)
        return start + CROSSING_CHUNK, winners

    return lax.while_loop(lambda state: state[0] < total[-1], step, (total[0] * 0, winners))[1]


def _keep(
    winners: _Winners, row: Array, mark: Array, k: Array, used: Array, seen: Frame, edges: Edges
) -> _Winners:
    """Draws those of a chunk of crossings that are seen, and lists them."""
    height, width = seen.face_id.shape
    tag, by_rows, beyond, part = mark[:, 0], mark[:, 1] == 1, mark[:, 2] == 1, mark[:, 3]
    s = Segment((row[:, 0], row[:, 1]), (row[:, 2], row[:, 3]), (row[:, 4], row[:, 5]), by_rows)
    line = k.astype(jnp.float32) + row[:, 6]
    across, t = cross(s, line)
    depth = s.depth[0] + t * (s.depth[1] - s.depth[0])
    # a crossing exactly on a center belongs to the pair before it
    place = (across - HALF_PIXEL) / ONE_PIXEL
    before = jnp.ceil(place) - 1
    used &= (before >= 0) & (before + 1 < jnp.where(by_rows, width, height))
    line, before = line.astype(jnp.int32), jnp.where(used, before, 0).astype(jnp.int32)
    first = jnp.where(used, jnp.where(by_rows, line * width + before, before * width + line), 0)
    second = first + jnp.where(used, jnp.where(by_rows, 1, width), 0)
    inside, outside = jnp.where(beyond, second, first), jnp.where(beyond, first, second)
    face_id, seen_depth = seen.face_id.reshape(-1), seen.depth.reshape(-1)
    hidden = (face_id[outside] >= 0) & (depth >= seen_depth[outside])
    shown = face_id[inside]
    own = (shown >= 0) & (jnp.asarray(edges.part)[jnp.maximum(shown, 0)] == part)
    used &= own & ~hidden
    offset = place - before.astype(jnp.float32)
    reach = jnp.where(beyond, 1 - offset, offset)  # from the inner pixel's center
    pair = first + jnp.where(by_rows, 0, height * width)
    listed = used & (tag >= 0)
    rank = jnp.cumsum(listed.astype(jnp.int32))
    slot = jnp.where(listed, winners.n_listed + rank - 1, size_classes.NOWHERE)
    return _Winners(
        key=depth_key.keep_largest(winners.key, jnp.where(used, pair, size_classes.NOWHERE), reach, tag),
        pair=winners.pair.at[slot].set(pair, mode="drop"),
        edge=winners.edge.at[slot].set(tag, mode="drop"),
        n_listed=winners.n_listed + rank[-1],
    )
