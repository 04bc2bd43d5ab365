"""One seed, named streams, exact resume: key = fold(fold(root, hash(name)), step)."""

from __future__ import annotations

import hashlib

import jax
from jaxtyping import Array


def stream_key(seed: int | Array, stream: str, step: int | Array = 0) -> jax.Array:
    """The key of a named random stream at a step.

    Args:
      seed: the run's only seed; may be traced.
      stream: name such as `"dropout"`; equal names give equal keys in every process.
      step: global step; may be traced.

    Returns:
      A typed PRNG key (scalar).
    """
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:4], "little")
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), name), step)
