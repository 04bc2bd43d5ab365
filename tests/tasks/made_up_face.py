"""A face of a few vertices for tests of the reconstruction task: a bump with random axes."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from talkjax.face.points import vertex_points
from talkjax.tasks.reconstruction import Measures, ReconstructionBatch, make_measures
from talkjax.types import FaceModel

N_ID, N_EXP, N_TEX, N_MARKS, _GRID = 3, 4, 2, 12, 7


@functools.cache
def made_up_model() -> FaceModel:
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, _GRID), np.linspace(-0.8, 0.8, _GRID))
    mean = np.stack([x, y, 0.5 * np.exp(-2 * (x * x + y * y))], -1).reshape(-1, 3)
    n = np.arange(_GRID * _GRID).reshape(_GRID, _GRID)
    a, b, c, d = n[:-1, :-1], n[:-1, 1:], n[1:, 1:], n[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])

    def axes(count: int, size: float) -> jnp.ndarray:
        return jnp.asarray(size * rng.standard_normal((count, len(mean), 3)), jnp.float32)

    return FaceModel(
        mean=jnp.asarray(mean, jnp.float32),
        id_basis=axes(N_ID, 0.03),
        exp_basis=axes(N_EXP, 0.03),
        exp_signed=jnp.zeros(N_EXP, bool),
        faces=jnp.asarray(faces, jnp.int32),
        face_region=jnp.zeros(len(faces), jnp.int32),
        uvs=jnp.zeros((len(mean), 2)),
        landmarks=vertex_points(np.arange(N_MARKS), np.arange(N_MARKS) * 4),
        tex_mean=jnp.full(mean.shape, 0.5, jnp.float32),
        tex_basis=axes(N_TEX, 0.03),
        exp_names=tuple(f"e{k}" for k in range(N_EXP)),
    )


@functools.cache
def made_up_measures() -> Measures:
    every = np.ones(_GRID * _GRID, bool)
    return make_measures(made_up_model(), every, every, np.ones(N_MARKS), np.zeros(3))


def made_up_batch(count: int, size: int, seed: int = 0) -> ReconstructionBatch:
    """Random coefficients, poses and (meaningless) pictures."""
    rng = np.random.default_rng(seed)

    def normal(size: float, *shape: int) -> np.ndarray:
        return (size * rng.standard_normal((count, *shape))).astype(np.float32)

    return ReconstructionBatch(
        images=rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        id_coeffs=normal(1.0, N_ID),
        exp_coeffs=normal(0.5, N_EXP),
        tex_coeffs=normal(1.0, N_TEX),
        sh_coeffs=normal(0.05, 3, 9),
        euler=normal(0.2, 3),
        translation=normal(0.1, 3),
        focal=np.full(count, 4.5 * size, np.float32),
        center=np.full((count, 2), size / 2, np.float32),
        known=np.ones(count, np.float32),
        landmarks=np.full((count, N_MARKS, 2), np.nan, np.float32),
    )
