"""Terms on the generator's attention mask (reference.md §5.5).

`mask` is the share of the picture kept from the render, in [0, 1]; for a generator with several candidates
it is the sum of their attention. The reference's weights: attention_mean 0.1 (2 when fine-tuning),
total_variation 1e-5.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import mean


def attention_mean(mask: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """Mean of the mask: keeps the generator from copying the render everywhere."""
    return mean(mask)


def total_variation(mask: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """*Sum* over pixels of absolute horizontal and vertical differences, mean over the batch.

    The reference sums over the batch too, and always has batch 1: equal there, and free of the batch size
    here.
    """
    horizontal = _total(jnp.abs(mask[:, :, 1:] - mask[:, :, :-1]))
    vertical = _total(jnp.abs(mask[:, 1:] - mask[:, :-1]))
    return jnp.mean(horizontal + vertical)


def _total(x: Float[Array, "b h w 1"]) -> Float[Array, "b"]:
    return jnp.sum(jnp.sum(x, axis=1), axis=(1, 2))
