"""Texture sampling against scipy's spline of order one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from talkjax.errors import InputError
from talkjax.raster import sample_texture


def scipy_sample(texture, uv):
    """[th tw c], [... 2] -> [... c] in float64."""
    height, width, _ = texture.shape
    uv = np.asarray(uv, np.float64)
    where = np.stack([uv[..., 1] * height - 0.5, uv[..., 0] * width - 0.5])
    channels = np.moveaxis(np.asarray(texture, np.float64), -1, 0)
    return np.stack([map_coordinates(c, where, order=1, mode="nearest") for c in channels], -1)


@pytest.mark.parametrize("size", [(7, 5), (1, 4), (3, 1), (1, 1)])
def test_values(size):
    rng = np.random.default_rng(0)
    texture = rng.uniform(size=(*size, 3)).astype(np.float32)
    uv = rng.uniform(-0.3, 1.3, (9, 11, 2)).astype(np.float32)
    uv[0, :4] = [[0, 0], [1, 1], [1, 0], [0.5, 1]]
    np.testing.assert_allclose(sample_texture(texture, uv), scipy_sample(texture, uv), atol=2e-6)


def test_texel_centers_and_directions():
    texture = jnp.arange(12.0).reshape(3, 4, 1)
    # v runs down the rows, u along the columns
    uv = jnp.array([[[(3 + 0.5) / 4, (0 + 0.5) / 3], [(1 + 0.5) / 4, (2 + 0.5) / 3]]])
    np.testing.assert_allclose(sample_texture(texture, uv)[0, :, 0], [3.0, 9.0], atol=1e-5)


def test_gradients():
    rng = np.random.default_rng(1)
    texture, change = rng.normal(size=(2, 6, 8, 2)).astype(np.float32)
    # inside the cells, where the function is smooth
    cell = np.stack([rng.integers(0, 7, (5, 9)), rng.integers(0, 5, (5, 9))], -1)
    uv = ((cell + 0.5 + rng.uniform(0.1, 0.9, cell.shape)) / [8, 6]).astype(np.float32)
    weight = rng.normal(size=(5, 9, 2)).astype(np.float32)

    def loss(texture, uv):
        return (sample_texture(texture, uv) * weight).sum()

    to_texture, to_uv = jax.jit(jax.grad(loss, argnums=(0, 1)))(texture, uv)
    np.testing.assert_allclose(
        (to_texture * change).sum(), (scipy_sample(change, uv) * weight).sum(), rtol=1e-4
    )
    for axis in range(2):
        step = np.eye(2)[axis] * 1e-6
        slope = (scipy_sample(texture, uv + step) - scipy_sample(texture, uv - step)) / 2e-6
        np.testing.assert_allclose(to_uv[..., axis], (slope * weight).sum(-1), rtol=2e-3, atol=2e-3)


def test_no_gradient_beyond_the_border_or_from_nan():
    texture = jnp.arange(12.0).reshape(3, 4, 1)
    uv = jnp.array([[[-0.5, 2.0], [jnp.nan, jnp.nan], [jnp.inf, -jnp.inf]]])
    color, pull = jax.vjp(sample_texture, texture, uv)
    to_texture, to_uv = pull(jnp.ones_like(color))
    assert np.isfinite(color).all() and np.isfinite(to_texture).all()
    np.testing.assert_array_equal(to_uv, 0)
    np.testing.assert_allclose(np.asarray(to_texture).sum(), 3, atol=1e-6)


def test_batches():
    rng = np.random.default_rng(2)
    textures = rng.uniform(size=(2, 3, 6, 8, 4)).astype(np.float32)
    uv = rng.uniform(size=(2, 3, 5, 7, 2)).astype(np.float32)
    own = np.asarray(sample_texture(textures, uv))
    shared = np.asarray(sample_texture(textures[0, 0], uv))
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(own[i, j], scipy_sample(textures[i, j], uv[i, j]), atol=1e-5)
            np.testing.assert_allclose(shared[i, j], scipy_sample(textures[0, 0], uv[i, j]), atol=1e-5)
    mapped = jax.vmap(jax.vmap(sample_texture))(textures, uv)
    np.testing.assert_allclose(mapped, own, atol=1e-6)
    with pytest.raises(InputError, match="texture has shape"):
        sample_texture(textures[0], uv)
