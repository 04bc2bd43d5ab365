"""The edges of a mesh and the faces on their two sides: found once in numpy, then static."""

from __future__ import annotations

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@struct.dataclass
class Edges:
    """Every edge of a mesh once, except that an edge of three or more faces has one entry per face.

    `verts` are its ends in the order in which the first face walks them; `faces` are the first and the second
    face, n_faces standing for "none". `same_way` marks the (badly oriented) edges that both faces walk in the
    same direction. `part` numbers the connected parts of the mesh, per face.
    """

    verts: Int[Array | np.ndarray, "e 2"]
    faces: Int[Array | np.ndarray, "2 e"]
    same_way: Bool[Array | np.ndarray, "e"]
    part: Int[Array | np.ndarray, "f"]


def find_edges(
    faces: Int[np.ndarray, "f 3"], n_verts: int, weld: Float[np.ndarray, "v 3"] | None = None
) -> Edges:
    """Edges and connected parts of `faces`; a face that names a vertex twice has no edges.

    Args:
      weld: vertex positions of some pose; vertices at exactly the same place count as one. Copies of a vertex
        (for texture seams, say) would otherwise make a border of every seam.
    """
    n_faces = len(faces)
    same = np.arange(n_verts) if weld is None else np.unique(weld, axis=0, return_inverse=True)[1].reshape(-1)
    corners = same[faces]
    solid = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    owner = np.repeat(np.flatnonzero(solid), 3)
    start = faces[solid].reshape(-1)
    end = np.roll(faces[solid], -1, axis=1).reshape(-1)

    low, high = np.minimum(same[start], same[end]), np.maximum(same[start], same[end])
    key = low.astype(np.int64) * n_verts + high
    order = np.argsort(key, kind="stable")
    key, owner, start, end = key[order], owner[order], start[order], end[order]
    first_of_run, length = np.unique(key, return_index=True, return_counts=True)[1:]
    shared = np.zeros(len(key), bool)  # the first of exactly two
    shared[first_of_run[length == 2]] = True
    listed = np.ones(len(key), bool)
    listed[1:] = ~shared[:-1]
    partner = np.minimum(np.arange(len(key)) + 1, max(len(key) - 1, 0))
    return Edges(
        verts=np.stack([start, end], axis=1)[listed].astype(np.int32),
        faces=np.stack([owner, np.where(shared, owner[partner], n_faces)])[:, listed].astype(np.int32),
        same_way=(shared & (same[start] == same[start[partner]]))[listed],
        part=_parts(corners, n_verts),
    )


def _parts(corners: Int[np.ndarray, "f 3"], n_verts: int) -> Int[np.ndarray, "f"]:
    """Number of the connected part of each face; faces that share a vertex are connected."""
    i, j = corners[:, [0, 1]].reshape(-1), corners[:, [1, 2]].reshape(-1)
    graph = coo_array((np.ones(len(i), np.int8), (i, j)), shape=(n_verts, n_verts))
    label = connected_components(graph, directed=False)[1]
    return label[corners[:, 0]].astype(np.int32)
