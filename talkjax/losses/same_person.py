"""Supervised contrast of face embeddings (Khosla et al. 2020, eq. 2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from talkjax import numerics


def same_person(
    embedding: Float[Array, "b f"], person: Int[Array, "b"], temperature: float = 0.1
) -> Float[Array, ""]:
    """Mean over rows and their partners of -log softmax of the partner's cosine among all other rows.

    Args:
      embedding: unit vectors.
      person: who is in each row; rows without a partner do not count.
      temperature: of the softmax.
    """
    scores = numerics.matmul(embedding, embedding.T) / temperature
    itself = jnp.eye(len(person), dtype=bool)
    scores = jnp.where(itself, -jnp.inf, scores)
    partner = (person[:, None] == person[None]) & ~itself
    logs = jnp.where(partner, jax.nn.log_softmax(scores, -1), 0.0)
    count = partner.sum(-1)
    row = -logs.sum(-1) / jnp.maximum(count, 1)
    return jnp.sum(row) / jnp.maximum(jnp.sum(count > 0), 1)
