"""A mesh of some of another's vertices: what a small picture needs of a face, models cut down with it."""

from __future__ import annotations

import heapq

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra


def coarse_mesh(
    verts: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], spacing: float
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "g 3"]]:
    """Vertices that are at least `spacing` apart along the edges, and triangles between them.

    Every vertex goes to the nearest kept one along the edges, never across a slit (lips, lids); triangles
    whose corners go to three different ones stay, with their orientation. Vertices of holes and outlines are
    chosen first, and twice as close: outlines keep their shape.

    Args:
      verts: of the mesh at rest. faces: counter-clockwise.
      spacing: in the unit of `verts`.

    Returns:
      The kept vertices, ascending, and triangles that number them from 0.
    """
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, uses = np.unique(np.sort(pairs, 1), axis=0, return_counts=True)
    length = np.linalg.norm(verts[edges[:, 0]] - verts[edges[:, 1]], axis=1) + 1e-9
    n = len(verts)
    graph = coo_matrix((length, edges.T), (n, n)).tocsr()
    graph = graph + graph.T
    on_outline = np.zeros(n, bool)
    on_outline[edges[uses == 1].ravel()] = True
    used = np.zeros(n, bool)
    used[faces.ravel()] = True
    order = np.concatenate([np.flatnonzero(on_outline), np.flatnonzero(used & ~on_outline)])
    reach = np.where(on_outline, 0.5 * spacing, spacing)
    chosen: list[int] = []
    covered = np.zeros(n, bool)
    for vertex in order:
        if covered[vertex]:
            continue
        chosen.append(int(vertex))
        covered[_within(graph, int(vertex), float(reach[vertex]))] = True
    kept = np.sort(np.array(chosen))
    _, _, source = dijkstra(graph, indices=kept, min_only=True, return_predecessors=True)
    number = np.full(n, -1)
    number[kept] = np.arange(len(kept))
    label = np.where(used, number[np.clip(source, 0, n - 1)], -1)
    new = label[faces]
    new = new[(new[:, 0] != new[:, 1]) & (new[:, 1] != new[:, 2]) & (new[:, 2] != new[:, 0])]
    first = new.argmin(1)
    turned = np.take_along_axis(new, (first[:, None] + np.arange(3)) % 3, axis=1)
    return kept, np.unique(turned, axis=0).astype(np.int32)


def _within(graph: object, start: int, limit: float) -> list[int]:
    """Vertices nearer to `start` than `limit` along the edges."""
    indptr, indices, data = graph.indptr, graph.indices, graph.data  # type: ignore[attr-defined]
    done, heap = {}, [(0.0, start)]
    while heap:
        distance, at = heapq.heappop(heap)
        if at in done:
            continue
        done[at] = distance
        for k in range(indptr[at], indptr[at + 1]):
            further = distance + data[k]
            if further < limit and indices[k] not in done:
                heapq.heappush(heap, (further, int(indices[k])))
    return list(done)
