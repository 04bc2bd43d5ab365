"""How far a refined picture is from the real one (reference.md §5.5 L1; multi-scale and gradient:
refiner.md).

`weight` is a map `[b h w 1]` (say 0.3 background, 1 face, 3 mouth); it multiplies the error and is not
normalized, so its mean sets the loss's size. Images in [-1, 1].
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import mean


def l1(
    predicted: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    weight: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, ""]:
    """Mean absolute error, 100 times this in the reference's total."""
    error = jnp.abs(predicted - target)
    return mean(error if weight is None else error * weight)


def gradient_l1(
    predicted: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    weight: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, ""]:
    """Mean absolute horizontal plus mean absolute vertical difference of the (weighted) error: edges in
    place. Channels are laid along the row, where loops are long."""
    error = _weighted_error(predicted, target, weight)
    b, h, w, c = error.shape
    rows = error.reshape(b, h, w * c)
    horizontal, vertical = rows[:, :, c:] - rows[:, :, :-c], rows[:, 1:] - rows[:, :-1]
    return mean(jnp.abs(horizontal)) + mean(jnp.abs(vertical))


def multi_scale_l1(
    predicted: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    weight: Float[Array, "b h w 1"] | None = None,
    n_scales: int = 2,
) -> Float[Array, ""]:
    """Sum of the mean absolute (weighted) error after halving 1 to `n_scales` times by box averages.

    Height and width must be multiples of 2 ** n_scales.
    """
    error = _weighted_error(predicted, target, weight)
    total = jnp.zeros(())
    for _ in range(n_scales):
        error = _halve(error)
        total = total + mean(jnp.abs(error))
    return total


def _weighted_error(predicted: Array, target: Array, weight: Array | None) -> Array:
    error = predicted - target
    return error if weight is None else error * weight


def _halve(x: Array) -> Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
