"""The spherical-harmonic constants number by number, and what zero light means."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from talkjax.face.lighting import AMBIENT, irradiance, sh_basis, shade


def _normals(n: int) -> np.ndarray:
    normals = np.random.default_rng(3).normal(size=(n, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_basis_has_the_reference_constants():
    normals = _normals(40)
    nx, ny, nz = normals.T
    expected = [
        np.full(40, 0.886227),
        -1.772454 * ny,
        1.772454 * nz,
        -1.772454 * nx,
        2.427032 * nx * ny,
        -2.427032 * ny * nz,
        0.700624 * (3 * nz**2 - 1),
        -2.427032 * nx * nz,
        1.213516 * (nx**2 - ny**2),
    ]
    np.testing.assert_allclose(sh_basis(jnp.float32(normals)), np.stack(expected, 1), atol=2e-6)


def test_bands_span_the_real_harmonics_up_to_order_two():
    normals = _normals(60)
    theta, phi = np.arccos(normals[:, 2]), np.arctan2(normals[:, 1], normals[:, 0])
    columns = []
    for degree in range(3):
        for order in range(degree + 1):
            value = sph_harm_y(degree, order, theta, phi)
            columns += [value.real] + ([value.imag] if order else [])
    harmonics = np.stack(columns, axis=1)
    basis = np.asarray(sh_basis(jnp.float32(normals)), np.float64)
    fit, _, rank, _ = np.linalg.lstsq(harmonics, basis, rcond=None)
    np.testing.assert_allclose(harmonics @ fit, basis, atol=1e-5)
    assert rank == 9
    assert np.linalg.matrix_rank(fit) == 9


def test_stored_light_of_zero_is_the_ambient_constant():
    albedo = jnp.full((2, 5, 3), 0.5)
    normals = jnp.float32(np.broadcast_to(_normals(5), (2, 5, 3)))
    lit = shade(albedo, normals, jnp.zeros((2, 3, 9)))
    np.testing.assert_allclose(lit, np.full((2, 5, 3), 0.5 * 0.8 * 0.8862269), atol=1e-6)


def test_channels_are_lit_by_their_own_coefficients():
    normals = _normals(6)
    sh_coeffs = np.random.default_rng(4).normal(size=(3, 9))
    gamma = sh_coeffs + 0.8 * (np.arange(9) == 0)
    basis = np.asarray(sh_basis(jnp.float32(normals)))
    lit = irradiance(jnp.float32(normals), jnp.float32(sh_coeffs))
    for channel in range(3):
        np.testing.assert_allclose(lit[:, channel], basis @ gamma[channel], atol=2e-5)


def test_gradient_of_light_with_respect_to_coefficients_is_the_basis():
    normals = jnp.float32(_normals(1))
    gradient = jax.grad(lambda g: irradiance(normals, g)[0, 1])(jnp.zeros((3, 9)))
    np.testing.assert_allclose(gradient[1], sh_basis(normals)[0], atol=1e-6)
    assert np.all(np.asarray(gradient)[[0, 2]] == 0)


@pytest.mark.parametrize(("points", "batch"), [((7,), (2,)), ((3, 5), (2,)), ((3, 5), ())])
def test_light_and_its_derivatives_are_those_of_the_product_of_matrices(points, batch):
    rng = np.random.default_rng(8)
    normals, turned = (jnp.float32(rng.normal(size=(*batch, *points, 3))) for _ in range(2))
    sh_coeffs, moved = (jnp.float32(rng.normal(size=(*batch, 3, 9))) for _ in range(2))

    def product(normals, sh_coeffs):
        gamma = sh_coeffs.at[..., 0].add(AMBIENT)
        flat = sh_basis(normals).reshape(*batch, -1, 9)
        return jnp.einsum("...nk,...ck->...nc", flat, gamma).reshape(normals.shape)

    weights = jnp.float32(rng.normal(size=normals.shape))
    results = []
    for light in (irradiance, product):
        slope = jax.jvp(light, (normals, sh_coeffs), (turned, moved))
        pulled = jax.grad(lambda *x, light=light: jnp.vdot(light(*x), weights), argnums=(0, 1))
        back = pulled(normals, sh_coeffs)
        results.append((*slope, *back))
    for own, expected in zip(*results, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)


def test_one_set_of_normals_serves_a_batch_of_lights():
    normals = jnp.float32(_normals(6))
    sh_coeffs = jnp.float32(np.random.default_rng(4).normal(size=(4, 3, 9)))
    each = jnp.stack([irradiance(normals, sh) for sh in sh_coeffs])
    np.testing.assert_allclose(irradiance(normals, sh_coeffs), each, atol=1e-6)
    of_all = jax.grad(lambda g: irradiance(normals, g).sum())(sh_coeffs)
    of_one = jax.grad(lambda g: irradiance(normals, g).sum())(sh_coeffs[0])
    np.testing.assert_allclose(of_all, jnp.broadcast_to(of_one, of_all.shape), rtol=1e-5)
