"""Supervised terms against numpy loops and closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from talkjax.losses import known_coeffs


def test_the_form_is_the_mean_squared_displacement() -> None:
    rng = np.random.default_rng(0)
    basis, difference = rng.standard_normal((4, 9, 3)), rng.standard_normal((2, 4))
    form = known_coeffs.vertex_form(basis)
    for row, value in zip(
        difference, known_coeffs.squared_distance(form, jnp.asarray(difference)), strict=True
    ):
        moved = sum(c * b for c, b in zip(row, basis, strict=True))
        np.testing.assert_allclose(value, np.mean([v @ v for v in moved]), rtol=1e-5)


def test_turn_is_a_function_of_the_angle() -> None:
    euler = np.array([[0.3, -0.2, 0.1], [0.0, 0.5, 0.0]])
    angle = [(Rotation.from_euler("xyz", e)).magnitude() for e in euler]
    turn = known_coeffs.turn(jnp.asarray(euler), jnp.zeros((2, 3)))
    # a rounded 2 sin(angle / 2): two per cent below it at these angles
    np.testing.assert_allclose(turn, 2 * np.sin(np.array(angle) / 2), rtol=0.04)
    pull = jax.grad(lambda e: known_coeffs.turn(e[None], jnp.zeros((1, 3)))[0])
    np.testing.assert_allclose(pull(jnp.zeros(3)), 0.0)
    np.testing.assert_allclose(np.linalg.norm(pull(jnp.array([0.0, 0.1, 0.0]))), 1.0, rtol=0.02)


def test_light_error_of_a_brighter_sky() -> None:
    sh = np.zeros((1, 3, 9), np.float32)
    brighter = sh.copy()
    brighter[:, :, 0] = 0.5
    error = known_coeffs.light_error(jnp.asarray(brighter), jnp.asarray(sh))
    np.testing.assert_allclose(error, (0.5 * 0.886227) ** 2, rtol=1e-4)  # Y0 of reference.md §2.2
