"""Where the tracked landmarks lie on the mesh of any face model.

A template of the 468 landmarks (`embedded/landmark_template.npz`: the median face of people who do not exist)
is bent onto the model by a thin-plate spline through the few landmarks that the model's makers name, and each
of its points then slides to the nearest place of the surface that faces the same way.
"""

from __future__ import annotations

import functools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from talkjax.face.mesh468 import FACE_OVAL, FACE_REGION, FACES, N_MESH
from talkjax.types import SKIN, SurfacePoints

TEMPLATE = Path(__file__).parent / "embedded" / "landmark_template.npz"
_SMOOTHING = (1e-3, 1e-3)  # of the splines after the first, dm^2-like; the first goes through the anchors
_NEIGHBOURS = 24  # nearest triangles (by their centres) among which a point's place is sought
_SKIN_FACES = FACES[FACE_REGION == SKIN]
_LEAST_COSINE = 0.3  # between the normals of template and surface


@functools.cache
def landmark_template() -> np.ndarray:
    """[468 3] dm, canonical frame."""
    with np.load(TEMPLATE, allow_pickle=False) as data:
        return data["verts"].astype(np.float64)


def dense_landmarks(verts: np.ndarray, faces: np.ndarray, anchors: dict[int, int]) -> SurfacePoints:
    """All 468 landmarks on a mesh, from a few known ones.

    Args:
      verts: [v 3] dm, the neutral face, lips closed.
      faces: [f 3] triangles on which landmarks may lie (skin: no eyeballs, no mouth socket), outward
        counter-clockwise.
      anchors: landmark number (0-467) -> vertex, about 50 of them, spread over the face.

    Returns:
      Points of triangles; an anchor is at its vertex.
    """
    verts, faces = np.asarray(verts, np.float64), np.asarray(faces)
    numbers = np.array(sorted(anchors))
    at = np.array([anchors[int(n)] for n in numbers])
    moved = RBFInterpolator(landmark_template()[numbers], verts[at])(landmark_template())
    surface = _Surface(verts, faces)
    for smoothing in _SMOOTHING:
        corners, bary = surface.nearest(moved, _normals(moved, _SKIN_FACES))
        seen = np.einsum("nk,nkc->nc", bary, verts[corners])
        inner = np.setdiff1d(np.arange(N_MESH), FACE_OVAL)  # the outline has no place of its own
        source = np.concatenate([landmark_template()[numbers], landmark_template()[inner]])
        target = np.concatenate([verts[at], seen[inner]])
        weight = np.r_[np.zeros(len(numbers)), np.full(len(inner), smoothing)]
        unique = np.unique(source, axis=0, return_index=True)[1]
        moved = RBFInterpolator(source[unique], target[unique], smoothing=weight[unique])(landmark_template())
    corners, bary = surface.nearest(moved, _normals(moved, _SKIN_FACES))
    corners[numbers], bary[numbers] = at[:, None], [1.0, 0.0, 0.0]
    return SurfacePoints(
        number=jnp.arange(N_MESH, dtype=jnp.int32),
        verts=jnp.asarray(corners, jnp.int32),
        bary=jnp.asarray(bary, jnp.float32),
    )


def _normals(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (verts[faces[:, k]] for k in range(3))
    sums = np.zeros_like(verts)
    for k in range(3):
        np.add.at(sums, faces[:, k], np.cross(b - a, c - a))
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def place_on_surface(
    verts: np.ndarray, faces: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners [468 3] and barycentrics [468 3] of the places of a mesh nearest to all 468 landmarks."""
    points = np.asarray(points, np.float64)
    return _Surface(np.asarray(verts, np.float64), faces).nearest(points, _normals(points, _SKIN_FACES))


class _Surface:
    """A triangle mesh that tells the nearest of its points."""

    def __init__(self, verts: np.ndarray, faces: np.ndarray):
        self.verts, self.faces = verts, faces
        corners = verts[faces]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)
        self.tree = cKDTree(corners.mean(1))

    def nearest(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners [n 3] and barycentrics [n 3] of the nearest place that faces like the point's normal."""
        near = self.tree.query(points, k=min(_NEIGHBOURS, len(self.faces)))[1].reshape(len(points), -1)
        bary = _closest_barycentrics(points[:, None], self.verts[self.faces[near]])
        places = np.einsum("nmk,nmkc->nmc", bary, self.verts[self.faces[near]])
        distance = np.linalg.norm(places - points[:, None], axis=-1)
        away = np.einsum("nmc,nc->nm", self.normals[near], normals) < _LEAST_COSINE
        best = np.argmin(distance + np.where(away, 10.0, 0.0), axis=1)
        row = np.arange(len(points))
        return self.faces[near[row, best]], bary[row, best]


def _closest_barycentrics(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentrics [*b 3] of the places of triangles [*b 3 3] nearest to points [*b 3]."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    inside = _plane_barycentrics(point, a, b, c)
    candidates = [inside]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, edge = corners[..., first, :], corners[..., second, :] - corners[..., first, :]
        along = ((point - start) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-18)
        along = np.clip(along, 0.0, 1.0)
        bary = np.zeros((*along.shape, 3))
        bary[..., first], bary[..., second] = 1 - along, along
        candidates.append(bary)
    stacked = np.stack(candidates)
    place = np.einsum("s...k,...kc->s...c", stacked, corners)
    distance = np.linalg.norm(place - point, axis=-1)
    distance[0] = np.where((inside >= 0).all(-1), distance[0], np.inf)
    best = np.argmin(distance, axis=0)
    return np.take_along_axis(stacked, best[None, ..., None], axis=0)[0]


def _plane_barycentrics(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v, w = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    area = np.maximum(uu * vv - uv * uv, 1e-18)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    return np.stack([1 - second - third, second, third], axis=-1)
