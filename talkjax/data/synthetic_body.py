"""The synthetic person's shirt: a lofted surface from the collar over the shoulders, fitted to the neck."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.interpolate import PchipInterpolator

from talkjax.data.synthetic_mesh import BACK, DM_PER_CM, FACE, PersonMesh, vertex_normals
from talkjax.data.synthetic_noise import SpaceNoise, smoothstep

_COLLAR_SLOPE, _COLLAR_HEIGHT = 0.32, -12.4  # the collar lies in the plane y + slope * z = height (cm)
_SKIN_BELOW_COLLAR = 1.6
_NECK_AXIS_Z = -0.5

# below the collar: half width, half depth, height at the side, slope, share of the texture's height (cm)
_RINGS = (
    (11.6, 8.6, -14.3, 0.36, 0.20),
    (16.6, 9.8, -16.5, 0.22, 0.40),
    (20.2, 11.0, -20.2, 0.10, 0.58),
    (21.6, 12.0, -29.0, 0.02, 0.80),
    (21.8, 12.4, -48.0, 0.00, 1.00),
)


@dataclasses.dataclass(frozen=True)
class Shirt:
    """A grid surface: verts [n 3] dm (camera-side outward), faces [f 3], uv [n 2] of its own texture."""

    verts: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


def collar_height(points_cm: np.ndarray) -> np.ndarray:
    """Height (cm) of points above the collar's tilted plane."""
    return points_cm[..., 1] + _COLLAR_SLOPE * points_cm[..., 2] - _COLLAR_HEIGHT


def is_covered(verts: np.ndarray) -> np.ndarray:
    """[v] bool: skin far enough below the collar to be hidden (and to be left out, lest it poke through)."""
    cm = verts / DM_PER_CM
    beside = np.hypot(cm[:, 0], cm[:, 2] - _NECK_AXIS_Z) > 7.0
    return (collar_height(cm) < -_SKIN_BELOW_COLLAR) | (beside & (collar_height(cm) < 2.4) & (cm[:, 2] < 5.5))


def head_share(verts: np.ndarray) -> np.ndarray:
    """[v] how much a vertex follows the head (1) rather than the shoulders (0), blended along the neck."""
    cm = verts / DM_PER_CM
    return smoothstep(cm[..., 1] + 0.35 * cm[..., 2], -12.6, -5.2)


def _neck_radius(mesh: PersonMesh, azimuth: np.ndarray) -> np.ndarray:
    """Radius (cm) of the neck at the collar by azimuth (0 = front, toward the person's left)."""
    skin = mesh.verts[mesh.vertices_of(FACE, BACK)] / DM_PER_CM
    ring = skin[np.abs(collar_height(skin)) < 0.7]
    angle = np.arctan2(ring[:, 0], ring[:, 2] - _NECK_AXIS_Z)
    radius = np.hypot(ring[:, 0], ring[:, 2] - _NECK_AXIS_Z)
    difference = np.angle(np.exp(1j * (azimuth[:, None] - angle[None])))
    weight = np.exp(-((difference / 0.16) ** 2))
    return (weight * radius).sum(1) / weight.sum(1)


def make_shirt(mesh: PersonMesh, noise: SpaceNoise, rows: int = 56, columns: int = 120) -> Shirt:
    """Shirt around the neck of `mesh`, with a collar band and some folds."""
    azimuth = np.linspace(0, 2 * np.pi, columns + 1)
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    neck = _neck_radius(mesh, azimuth)
    knots, heights = [], []
    for outward, above, share in (
        (-0.5, -2.4, 0.0),
        (0.42, 0.55, 0.012),
        (0.75, 0.35, 0.03),
        (1.00, -0.9, 0.075),
    ):
        x, z = (neck + outward) * sine, (neck + outward) * cosine + _NECK_AXIS_Z
        knots.append(np.stack([x, _COLLAR_HEIGHT + above - _COLLAR_SLOPE * z, z], -1))
        heights.append(share)
    for half_width, half_depth, height, slope, share in _RINGS:
        x = half_width * np.sign(sine) * np.abs(sine) ** 0.85
        z = half_depth * np.sign(cosine) * np.abs(cosine) ** 0.85 + _NECK_AXIS_Z
        knots.append(np.stack([x, height - slope * z, z], -1))
        heights.append(share)
    v = np.concatenate([np.linspace(0, 0.09, 16, endpoint=False), np.linspace(0.09, 1, rows - 16)])
    points = PchipInterpolator(heights, np.stack(knots), axis=0)(v)  # [rows columns+1 3]
    verts = points.reshape(-1, 3)
    index = np.arange(len(verts)).reshape(rows, columns + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    normals = vertex_normals(verts, faces)
    depth = smoothstep(v, 0.09, 0.22).repeat(columns + 1)
    stretched = verts * (0.55, 1.0, 0.55) + 0.8 * noise.field(verts, 9.0)[:, None]
    folds = noise.fractal(stretched, 7.0, 3)
    ridged = 1.0 - 2.0 * np.abs(np.tanh(folds))
    verts = verts + normals * (0.42 * depth * ridged)[:, None]
    uv = np.stack(np.broadcast_arrays(np.linspace(0, 1, columns + 1)[None], v[:, None]), -1).reshape(-1, 2)
    return Shirt(verts * DM_PER_CM, faces.astype(np.int32), uv)
