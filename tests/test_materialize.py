"""Hints to the compiler change no bit and no derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.materialize import computed_once


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_computed_once_is_the_identity_to_the_bit(dtype):
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 2e-38, -3e38, 1.0, -1.0]
    x = jnp.asarray([*special, *np.random.default_rng(0).normal(size=300)], dtype)
    bits = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    for same in (computed_once(x), jax.jit(computed_once)(x)):
        assert same.dtype == x.dtype
        np.testing.assert_array_equal(same.view(bits), x.view(bits))


def test_computed_once_passes_derivatives():
    x, change = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32))
    assert (jax.grad(lambda x: jnp.vdot(computed_once(x), change))(x) == change).all()
    assert (jax.jvp(computed_once, (x,), (change,))[1] == change).all()
    twice = jax.hessian(lambda x: (computed_once(x) ** 2).sum())(x)
    np.testing.assert_allclose(twice, 2 * np.eye(5), atol=1e-6)
