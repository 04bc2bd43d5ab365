"""Fewer vertices, the same surface: no new holes, no folds, slits stay open."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.face.coarse_mesh import coarse_mesh

N = 41


def sheet_with_a_slit() -> tuple[np.ndarray, np.ndarray]:
    """A bent sheet of N x N vertices, 1 apart, cut along the middle row but for its ends: lips that touch."""
    x, y = np.meshgrid(np.arange(N, dtype=float), np.arange(N, dtype=float))
    verts = np.stack([x, y, 4 * np.sin(x / 8)], -1).reshape(-1, 3)
    number = np.arange(N * N).reshape(N, N)
    below = number.copy()
    middle = N // 2
    cut = slice(8, N - 8)
    below[middle, cut] = N * N + np.arange(N - 16)
    verts = np.concatenate([verts, verts[number[middle, cut]]])
    faces = []
    for row in range(N - 1):
        upper, lower = (below if row == middle else number)[row], number[row + 1]
        a, b, c, d = upper[:-1], upper[1:], lower[1:], lower[:-1]
        faces += [np.stack([a, b, c], -1), np.stack([a, c, d], -1)]
    return verts, np.concatenate(faces)


def edge_uses(faces: np.ndarray) -> np.ndarray:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, 1), axis=0, return_counts=True)[1]


def euler_number(faces: np.ndarray) -> int:
    return len(np.unique(faces)) - len(edge_uses(faces)) + len(faces)


def areas(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (verts[faces[:, k]] for k in range(3))
    return 0.5 * np.cross(b - a, c - a)


@pytest.mark.parametrize("spacing", [2.5, 4.0])
def test_the_surface_stays(spacing: float) -> None:
    verts, faces = sheet_with_a_slit()
    kept, coarse = coarse_mesh(verts, faces, spacing)
    assert len(coarse) < len(faces) / (0.5 * spacing**2)
    assert edge_uses(coarse).max() == 2
    assert euler_number(coarse) == euler_number(faces) == 0  # a sheet with one hole: the slit
    fine, few = areas(verts, faces), areas(verts[kept], coarse)
    assert (few[:, 2] > 0).all() == (fine[:, 2] > 0).all() and (few[:, 2] != 0).all()
    np.testing.assert_allclose(few.sum(0)[2], fine.sum(0)[2], rtol=0.03)


def test_vertices_are_as_far_apart_as_said_and_some_of_the_old() -> None:
    verts, faces = sheet_with_a_slit()
    kept, coarse = coarse_mesh(verts, faces, 3.0)
    assert len(np.unique(kept)) == len(kept) and coarse.max() == len(kept) - 1
    edges = np.concatenate([coarse[:, [0, 1]], coarse[:, [1, 2]], coarse[:, [2, 0]]])
    length = np.linalg.norm(verts[kept][edges[:, 0]] - verts[kept][edges[:, 1]], axis=1)
    assert length.min() >= 1.0 and length.mean() > 2.5 and length.max() < 9.0
