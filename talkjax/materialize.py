"""Results that XLA on CPU must not compute again for each that reads them: a barrier, and a hint."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped


def stored(x: Shaped[Array, "..."], count: Int[Array, ""]) -> Shaped[Array, "..."]:
    """`x` (not empty, any type), computed once. No gradient passes.

    Args:
      count: a number that is never negative, which the compiler must not know.

    XLA on CPU fuses what makes a column into all that read it, and so makes it again for each: a vertex
    snapped for every corner, a corner fetched for every column of a row. It drops optimization barriers
    before it fuses. A loop is not fused, not even one that never runs. Elsewhere nothing is done:
    a GPU waits for the host to know whether a loop goes on. What has a gradient: `computed_once`.
    """
    return lax.platform_dependent(x, count, cpu=_behind_a_loop, default=lambda x, count: x)


def _behind_a_loop(x: Array, count: Array) -> Array:
    def body(state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, x = state
        return left - 1, x.at[(0,) * x.ndim].add(left)

    return lax.while_loop(lambda state: state[0] > 0, body, (jnp.minimum(count, 0), x))[1]


def computed_once(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x`, to the bit (of normal numbers), not computed anew for each that reads it; derivatives pass.

    XLA on CPU fuses what makes an array into what reads it, often into several readers, but counts divisions
    as dear and mostly leaves those where they are: this is a quotient by ones of which it does not know that
    they are ones. (By one number for all it would become a product.) A hint, no barrier, and no work: LLVM
    sees through it. Measure whether it helps. `stored` is the barrier, for what has no gradient.
    """
    bits = lax.bitcast_convert_type(x, jnp.dtype(f"int{8 * x.dtype.itemsize}"))
    nothing = jnp.minimum(lax.shift_right_logical(bits, jnp.ones_like(bits)), 0)
    return x / lax.stop_gradient((1 - nothing).astype(x.dtype))
