"""Contrast between people: two stretches of one person's motion belong together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pattern_contrast(
    first: Float[Array, "b d"], second: Float[Array, "b d"], temperature: float = 0.5
) -> Float[Array, ""]:
    """Cross-entropy of finding each person's second pattern among the batch's by distance to the first
    (InfoNCE, both ways). The released weights of the follow-up paper are named after a contrastive loss; its
    form is not published (reference.md §3.6)."""
    squared = jnp.square(first[:, None] - second[None]).sum(-1)
    logits = -squared / temperature
    own = jnp.arange(first.shape[0])
    forward = jax.nn.log_softmax(logits, axis=1)[own, own]
    backward = jax.nn.log_softmax(logits, axis=0)[own, own]
    return -(forward.mean() + backward.mean()) / 2
