"""Random weights for tests without compiling a network's initialiser."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def draw(*shape: int, seed: int = 0) -> jax.Array:
    """Standard normal float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_variables(net: Any, *inputs: Any) -> Any:
    """Weights of order one in every layer (N(0, 0.02) would hide a wrong inner one); positive variances."""
    rng = np.random.default_rng(7)

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        values = rng.normal(size=leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
        if path[-1].key == "var":
            values = 0.5 + values**2
        return jnp.asarray(values, jnp.float32)

    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(fill, shapes)
