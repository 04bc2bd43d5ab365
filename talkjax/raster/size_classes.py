"""Sorting triangles by size class without a sort: rank inside the class by counting.

XLA's cumsum and sort are slow on CPU; a matrix product with a triangle of ones counts 16 triangles at a time,
all classes at once, four bits each packed into one exactly represented float.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

_BLOCK, _BITS, _BLOCK2 = 16, 4, 64
MAX_CLASSES = 6
"""6 classes x 4 bits = 24 bits, the integers that float32 holds exactly."""
NOWHERE = 1 << 30


def classify(extent: Int[Array, "n"], limits: tuple[int, ...]) -> Int[Array, "n"]:
    """Class k + 1 for the first k with extent <= limits[k]; 0 (not drawn) where extent <= 0 or above all
    limits."""
    # counting limits passed is one compare and one add each; a chain of selects stays scalar code
    passed = jnp.zeros_like(extent)
    for limit in (0, *limits):
        passed += (extent > limit).astype(extent.dtype)
    return jnp.where(passed > len(limits), 0, passed)


def _exclusive_counts(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Sum of all earlier entries along the last axis, as a matrix product (exact for integers below 2^24)."""
    ones = jnp.asarray(np.triu(np.ones((x.shape[-1],) * 2, np.float32), 1))
    return jnp.dot(x, ones, precision=lax.Precision.HIGHEST)


def slots(
    size_class: Int[Array, "n"], n_classes: int
) -> tuple[Int[Array, "n"], Int[Array, "k"], Int[Array, "k"]]:
    """Where each triangle goes in a list ordered by class, then id; where each class starts; how many it has.

    Class 0 goes to NOWHERE. Needs n_classes <= MAX_CLASSES.
    """
    n = size_class.shape[0]
    n_blocks = -(-n // _BLOCK)
    klass = jnp.pad(size_class, (0, n_blocks * _BLOCK - n)).reshape(n_blocks, _BLOCK)
    shift = _BITS * jnp.maximum(klass - 1, 0)
    packed = jnp.where(klass > 0, jnp.left_shift(jnp.int32(1), shift), 0).astype(jnp.float32)
    before = _exclusive_counts(packed).astype(jnp.int32)  # at most 15 per class: no carry between classes

    last, last_class = before[:, -1], klass[:, -1]
    mask = (1 << _BITS) - 1
    total = jnp.stack([((last >> (_BITS * k)) & mask) + (last_class == k + 1) for k in range(n_classes)])
    n_blocks2 = -(-n_blocks // _BLOCK2)
    total = jnp.pad(total, ((0, 0), (0, n_blocks2 * _BLOCK2 - n_blocks)))
    total = total.reshape(n_classes, n_blocks2, _BLOCK2).astype(jnp.float32)
    before2 = _exclusive_counts(total)
    total2 = before2[:, :, -1] + total[:, :, -1]
    before3 = _exclusive_counts(total2)
    count = jnp.sum(total2, axis=1)
    start = _exclusive_counts(count)
    base = (before2 + (before3 + start[:, None])[:, :, None]).astype(jnp.int32).reshape(-1)

    # a gather from the table of bases is half the price of choosing among its rows by comparison
    block = lax.broadcasted_iota(jnp.int32, klass.shape, 0)
    own_base = base.at[jnp.maximum(klass - 1, 0) * (n_blocks2 * _BLOCK2) + block].get(
        mode="promise_in_bounds"
    )
    slot = jnp.where(klass > 0, own_base + (jnp.right_shift(before, shift) & mask), NOWHERE)
    return slot.reshape(-1)[:n], start.astype(jnp.int32), count.astype(jnp.int32)
