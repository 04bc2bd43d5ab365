"""Results that are in memory before anything reads them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Shaped


def stored(x: Shaped[Array, "..."], count: Int[Array, ""]) -> Shaped[Array, "..."]:
    """`x` (not empty, any type), computed once. No gradient passes.

    Args:
      count: a number that is never negative, which the compiler must not know.

    XLA on CPU fuses what makes a column into all that read it, and so makes it again for each: a vertex
    snapped for every corner, a corner fetched for every column of a row. It drops optimization barriers
    before it fuses. A loop is not fused, not even one that never runs. Elsewhere nothing is done:
    a GPU waits for the host to know whether a loop goes on. What has a gradient: `numerics.computed_once`.
    """
    return lax.platform_dependent(x, count, cpu=_behind_a_loop, default=lambda x, count: x)


def _behind_a_loop(x: Array, count: Array) -> Array:
    def body(state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, x = state
        return left - 1, x.at[(0,) * x.ndim].add(left)

    return lax.while_loop(lambda state: state[0] > 0, body, (jnp.minimum(count, 0), x))[1]
