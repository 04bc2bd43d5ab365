"""Triangles that reach in front of the near plane or beyond the guard band, cut to what can be drawn.

They are rare, so this part may be slow: float64, one polygon per triangle, one piece of its fan at a time.
Each cut point is computed from the inside end of its edge to the outside end, so the two triangles of an edge
get the same bits, hence the same snapped point: no gap and no overlap along the shared edge.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.raster.scene import Scene
from talkjax.raster.snap import GUARD, HALF_PIXEL, INVALID

_MAX_CORNERS = 8
"""A triangle cut by five planes."""
PIECES = _MAX_CORNERS - 2
"""Triangles of the cut polygon's fan."""
_WIDER = 1.0 + 2.0**-16
"""Vertices that the snapping calls inside of the guard band must never be cut."""


def cut(scene: Scene, triangles: Int[Array, "n"], piece: Int[Array, "n"]) -> Int[Array, "3 n 4"]:
    """Piece number `piece` of each triangle as snapped vertex rows; INVALID where there is no such piece.

    Call it inside of `depth_key.x64`.
    """
    verts = scene.verts_of(triangles)
    own = scene.snapped.at[verts].get(mode="promise_in_bounds")
    points = scene.verts_clip.at[verts].get(mode="promise_in_bounds").astype(jnp.float64)
    polygon, origin, count = _polygon(points.transpose(1, 0, 2), _planes(scene.height, scene.width))

    ndc = polygon[..., :3] / jnp.where(polygon[..., 3:] > 0, polygon[..., 3:], 1.0)
    half = np.array([HALF_PIXEL * scene.width, -HALF_PIXEL * scene.height])
    place = jnp.rint(ndc[..., :2] * half).astype(jnp.int32) + np.abs(half).astype(np.int32)
    # a corner that was not cut keeps its snapped position: the neighbors have the same
    for i in range(3):
        keeps = (origin == i) & (own[i, :, 3] == 0)[:, None]
        place = jnp.where(keeps[..., None], own[i, :, None, :2], place)
    z = lax.bitcast_convert_type(ndc[..., 2].astype(jnp.float32), jnp.int32)
    corner = jnp.stack([piece * 0, piece + 1, piece + 2])
    chosen = (jnp.arange(_MAX_CORNERS, dtype=jnp.int32) == corner[..., None])[..., None]
    rows = jnp.concatenate([place, z[..., None]], axis=-1)
    rows = jnp.sum(jnp.where(chosen, rows, 0), axis=2, dtype=jnp.int32)
    flags = jnp.where(piece + 2 < count, 0, INVALID)
    flags = jnp.broadcast_to(flags.astype(jnp.int32)[:, None], (*corner.shape, 1))
    return jnp.concatenate([rows, flags], axis=-1)


def _planes(height: int, width: int) -> Float[np.ndarray, "5 4"]:
    """Rows p with p . (x, y, z, w) >= 0 inside: near plane, then the four guard planes."""
    reach_x, reach_y = (_WIDER * GUARD / (HALF_PIXEL * size) for size in (width, height))
    return np.array(
        [[0, 0, 1, 1], [-1, 0, 0, reach_x], [1, 0, 0, reach_x], [0, -1, 0, reach_y], [0, 1, 0, reach_y]],
        np.float64,
    )


def _polygon(
    points: Float[Array, "n 3 4"], planes: Float[np.ndarray, "p 4"]
) -> tuple[Float[Array, "n 8 4"], Int[Array, "n 8"], Int[Array, "n"]]:
    """Corners inside of all planes (Sutherland and Hodgman 1974), which original corner each is (-1: none),
    and how many there are."""
    n = points.shape[0]
    slot = jnp.arange(_MAX_CORNERS, dtype=jnp.int32)

    def cut_by(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        polygon, origin, count = state
        exists = slot < count[:, None]
        is_last = slot + 1 == count[:, None]
        distance = jnp.sum(polygon * jnp.asarray(planes)[k], axis=-1)
        next_point = jnp.where(is_last[..., None], polygon[:, :1], jnp.roll(polygon, -1, axis=1))
        next_distance = jnp.where(is_last, distance[:, :1], jnp.roll(distance, -1, axis=1))
        inside = exists & (distance >= 0)
        crosses = exists & ((distance >= 0) != (next_distance >= 0))
        near, far = jnp.where(inside, distance, next_distance), jnp.where(inside, next_distance, distance)
        start = jnp.where(inside[..., None], polygon, next_point)
        end = jnp.where(inside[..., None], next_point, polygon)
        t = near / jnp.where(crosses, near - far, 1.0)
        point = start + t[..., None] * (end - start)

        made = inside.astype(jnp.int32) + crosses.astype(jnp.int32)
        place = jnp.sum(jnp.where(slot < slot[:, None], made[:, None], 0), axis=2, dtype=jnp.int32)
        moved = (place[..., None] == slot) & inside[..., None]
        added = ((place + inside)[..., None] == slot) & crosses[..., None]
        new = jnp.where(moved[..., None], polygon[:, :, None], 0.0)
        new = jnp.sum(new + jnp.where(added[..., None], point[:, :, None], 0.0), axis=1)
        origin = jnp.max(jnp.where(moved, origin[..., None], -1), axis=1)
        return new, origin, jnp.minimum(jnp.sum(made, axis=1, dtype=jnp.int32), _MAX_CORNERS)

    polygon = jnp.pad(points, ((0, 0), (0, _MAX_CORNERS - 3), (0, 0)))
    varying_zero = (points[:, 0, 0] > 0).astype(jnp.int32) * 0
    origin = jnp.where(slot < 3, slot, -1) + varying_zero[:, None]
    start = (polygon, origin, jnp.full((n,), 3, jnp.int32) + varying_zero)
    return lax.fori_loop(jnp.int32(0), jnp.int32(planes.shape[0]), cut_by, start)
