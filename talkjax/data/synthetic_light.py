"""Light of the synthetic scene: a few soft sources, as spherical harmonics, and who shadows whom at rest."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from talkjax.face.lighting import sh_basis
from talkjax.raster.rasterize import rasterize
from talkjax.raster.topology import Topology

SOURCES: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ((-0.62, 0.50, 0.60), (1.52, 1.40, 1.22), 14.0),  # key: a window at the left, above
    ((0.85, 0.15, 0.50), (0.30, 0.34, 0.40), 3.0),  # fill from the room
    ((0.55, 0.45, -0.70), (0.55, 0.52, 0.48), 8.0),  # rim from behind
    ((0.0, 1.0, 0.1), (0.26, 0.27, 0.29), 1.5),  # ceiling
    ((0.0, -0.8, 0.6), (0.16, 0.13, 0.11), 2.0),  # bounce from the desk
)
"""Direction toward the source (camera axes), colour, and how narrow its lobe is (exponent)."""

KEY_DIRECTION = np.array(SOURCES[0][0]) / np.linalg.norm(SOURCES[0][0])
AMBIENT = np.array((0.20, 0.20, 0.21))


def _sphere(n: int) -> np.ndarray:
    """n well-spread unit vectors (Fibonacci lattice)."""
    i = np.arange(n) + 0.5
    z, turn = 1 - 2 * i / n, np.pi * (1 + np.sqrt(5)) * i
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)


def _radiance(directions: np.ndarray) -> np.ndarray:
    """[n 3] light arriving from each direction; every lobe has the irradiance of its colour head-on."""
    total = np.broadcast_to(AMBIENT / np.pi, (len(directions), 3)).copy()
    grid = _sphere(4000)
    for toward, color, exponent in SOURCES:
        axis = np.array(toward) / np.linalg.norm(toward)
        lobe = np.exp(exponent * (grid @ axis - 1)) * np.maximum(grid @ axis, 0)
        scale = 1 / (lobe.mean() * 4 * np.pi)
        total += np.exp(exponent * (directions @ axis - 1))[:, None] * scale * np.array(color)
    return total


@functools.cache
def sh_light() -> np.ndarray:
    """[3 9] coefficients g so that the light on a surface facing n is `sh_basis(n) @ g.T` (least squares)."""
    normals, grid = _sphere(600), _sphere(2000)
    light = np.maximum(normals @ grid.T, 0) @ _radiance(grid) * (4 * np.pi / len(grid))
    basis = np.asarray(sh_basis(jnp.asarray(normals, jnp.float32)), np.float64)
    return np.linalg.lstsq(basis, light, rcond=None)[0].T


def _view(direction: np.ndarray) -> np.ndarray:
    """Rotation whose third row is `direction`: turns it onto +z."""
    side = np.cross((0.0, 1.0, 0.0) if abs(direction[1]) < 0.9 else (1.0, 0.0, 0.0), direction)
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(direction, side), direction])


@functools.partial(jax.jit, static_argnames=("size", "extent", "bias"))
def _seen(
    view: Array, points: Array, verts: Array, topology: Topology, size: int, extent: float, bias: float
) -> Array:
    """[n] bool: points that a far camera with rotation `view` sees past the mesh (outside the image: all)."""

    def clip(p: Array) -> Array:
        turned = p @ view.T
        xy, depth = turned[:, :2] / extent, -turned[:, 2:] / 8.0
        return jnp.concatenate([xy, depth, jnp.ones_like(depth)], -1)

    image = rasterize(clip(verts), topology, size, size).depth
    at = clip(points)
    column = jnp.clip(((at[:, 0] + 1) / 2 * size).astype(jnp.int32), 0, size - 1)
    row = jnp.clip(((1 - at[:, 1]) / 2 * size).astype(jnp.int32), 0, size - 1)
    outside = (jnp.abs(at[:, :2]) > 1).any(-1)
    return outside | (at[:, 2] <= image[row, column] + bias / 8.0)


def bake_exposure(
    points: np.ndarray,
    normals: np.ndarray,
    blocker_verts: np.ndarray,
    blocker_faces: np.ndarray,
    *,
    n_directions: int = 48,
    size: int = 288,
    extent: float = 1.7,
    bias: float = 0.012,
) -> np.ndarray:
    """Share of the scene's light that reaches each point past the blockers, [n] in [0, 1].

    Each direction of a sphere lattice looks at the blockers through an orthographic depth image of
    `2 * extent` dm; a point whose depth lies behind it by less than `bias` dm counts as seen.
    """
    directions = _sphere(n_directions)
    weight = _radiance(directions).mean(-1)
    cosine = np.maximum(normals @ directions.T, 0.0)  # [n d]
    topology = Topology.from_faces(blocker_faces, len(blocker_verts))

    lifted = jnp.asarray(points + 0.012 * normals, jnp.float32)
    verts = jnp.asarray(blocker_verts, jnp.float32)
    reached, total = np.zeros(len(points)), np.zeros(len(points))
    for k, direction in enumerate(directions):
        share = weight[k] * cosine[:, k]
        total += share
        if share.any():
            view = jnp.asarray(_view(direction), jnp.float32)
            visible = _seen(view, lifted, verts, topology, size, extent, bias)
            reached += share * np.asarray(visible)
    return reached / np.maximum(total, 1e-9)
