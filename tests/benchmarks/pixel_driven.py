"""Pixel-driven antialiasing, to compare with: a re-implementation, not the authors' program.

Written for this project from the published description: Laine et al., Modular Primitives for High-
Performance Differentiable Rendering, 2020 (arXiv 2011.03277), section on antialiasing. Two neighboring
pixels that show different triangles are looked at; only the edges of the triangle seen at the nearer of
the two are candidates; one that is a silhouette edge (its two faces project to the same side, or it is a
border) and passes between the two pixel centers mixes the pair in proportion to where it passes. The
mixing itself is that of `talkjax.raster.antialias`, so that the two differ only in where they look for
edges.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any


def opposite_verts(faces: np.ndarray) -> np.ndarray:
    """[f 3]: for the edge across from corner i, the third vertex of the other face there; -1 at a border."""
    at = {(int(f[(i + 1) % 3]), int(f[(i + 2) % 3])): int(f[i]) for f in faces for i in range(3)}
    flat = [at.get((int(f[(i + 2) % 3]), int(f[(i + 1) % 3])), -1) for f in faces for i in range(3)]
    return np.array(flat, np.int32).reshape(-1, 3)


def antialias_pixel_driven(
    color: Array, clip: Array, face_id: Array, depth: Array, faces: Array, opposite: Array
) -> Array:
    """`color` [h w c] with its silhouettes mixed; clip [v 4]; face_id, depth [h w]; faces, opposite [f 3]."""
    height, width = face_id.shape
    x = (clip[:, 0] / clip[:, 3] + 1) * (width / 2)
    y = (1 - clip[:, 1] / clip[:, 3]) * (height / 2)
    verts = jnp.stack([x, y], -1)
    depth = lax.stop_gradient(jnp.where(face_id >= 0, depth, jnp.inf))
    for axis in (1, 0):
        color = _mix_pairs(color, verts, face_id, depth, faces, opposite, axis)
    return color


def _mix_pairs(
    color: Array, verts: Array, face_id: Array, depth: Array, faces: Array, opposite: Array, axis: int
) -> Array:
    n = face_id.shape[axis]

    def first(a: Array) -> Array:
        return lax.slice_in_dim(a, 0, n - 1, axis=axis)

    def second(a: Array) -> Array:
        return lax.slice_in_dim(a, 1, n, axis=axis)

    nearer_is_first = first(depth) <= second(depth)
    face = jnp.maximum(jnp.where(nearer_is_first, first(face_id), second(face_id)), 0)
    differ = first(face_id) != second(face_id)
    rows, columns = jnp.mgrid[: face.shape[0], : face.shape[1]]
    center = jnp.stack([columns + 0.5, rows + 0.5], -1).astype(jnp.float32)  # of the pair's first pixel
    reach = jnp.full(face.shape, -1.0)
    for i in range(3):
        a, b = verts[faces[face, (i + 1) % 3]] - center, verts[faces[face, (i + 2) % 3]] - center
        c, other = verts[faces[face, i]] - center, opposite[face, i]
        d = verts[jnp.maximum(other, 0)] - center
        side, other_side = _cross(b - a, c - a), _cross(b - a, d - a)
        outline = (other < 0) | (side * other_side > 0)
        if axis == 0:  # turned, so that below the pair is always a row's
            a, b = a[..., ::-1], b[..., ::-1]
        length = b[..., 1] - a[..., 1]
        steep = jnp.abs(length) >= jnp.abs(b[..., 0] - a[..., 0])
        passes = (a[..., 1] <= 0) != (b[..., 1] <= 0)
        length = jnp.where(passes, length, 1.0)
        at = a[..., 0] - a[..., 1] * (b[..., 0] - a[..., 0]) / length  # from the first center, in pixels
        hit = differ & outline & steep & passes & (at >= 0) & (at <= 1)
        distance = jnp.where(nearer_is_first, at, 1 - at)
        better = hit & (distance > reach)
        reach = jnp.where(better, distance, reach)
    share = jnp.where(reach >= 0, reach - 0.5, 0.0)[..., None]
    inside = jnp.where(nearer_is_first[..., None], first(color), second(color))
    outside = jnp.where(nearer_is_first[..., None], second(color), first(color))
    change = share * (inside - outside)
    to_first = (share > 0) != nearer_is_first[..., None]
    before, after = [(0, 0)] * 3, [(0, 0)] * 3
    before[axis], after[axis] = (0, 1), (1, 0)
    return (
        color
        + jnp.pad(jnp.where(to_first, change, 0.0), before)
        + jnp.pad(jnp.where(to_first, 0.0, change), after)
    )


def _cross(a: Array, b: Array) -> Array:
    return lax.stop_gradient(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
