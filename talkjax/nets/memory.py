"""The refiner's key-value memory: spatial keys, identity values (reference.md §5.3).

Pure functions on `types.MemoryBank`; the bank is a value that is passed in and out. Queries and keys count
only by direction (cosine), values are compared by cosine too. All functions take a batch of any size.

Batch rule of `update` (equal to the reference's at its batch size 1):
  1. every row reads the bank as it was before the call; all ages grow by 1 once per call;
  2. a row whose nearest slot already holds its value ("hit") moves that slot's key:
     key <- normalize(key + q), age <- 0. Several hits of one slot: the last row wins, the others leave no
     trace;
  3. every other row ("miss") overwrites one slot: the m-th miss in row order takes the slot with the m-th
     largest age + noise, noise uniform in [-4, 4), among the slots that no row of this batch hits. Misses
     therefore take distinct slots; with more misses than free slots the count starts again from the oldest
     and the last row wins; with no free slot at all, misses are dropped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from talkjax import numerics
from talkjax.types import MemoryBank

SAME_VALUE = 0.98
"""Cosine above which two values are the same identity."""
MARGIN = 0.3
TOP_K = 256
AGE_NOISE = 4.0
EMPTY = -1
"""`source_id` of a slot that was never written; its random value matches nothing."""


@struct.dataclass
class Reading:
    """The `k` nearest slots of each query, nearest first: their values, cosines and slot numbers."""

    values: Float[Array, "b k dv"]
    scores: Float[Array, "b k"]
    slots: Int[Array, "b k"]


@struct.dataclass
class UpdateReport:
    """What `update` did with each row: `hit` moved a key, otherwise the row was a miss; `slot` is where to.

    `slot` is -1 for a row that left no trace (overruled by a later row, or no free slot).
    """

    hit: Bool[Array, "b"]
    slot: Int[Array, "b"]


def init_bank(key: Array, n: int, dk: int, dv: int) -> MemoryBank:
    """An empty memory of `n` slots: random unit keys, random positive values with L1 norm 1, source -1."""
    key_of_keys, key_of_values = jax.random.split(key)
    keys = jax.random.uniform(key_of_keys, (n, dk), minval=-0.01, maxval=0.01)
    values = jax.random.uniform(key_of_values, (n, dv))
    return MemoryBank(
        keys=numerics.normalize(keys),
        values=values / jnp.sum(values, -1, keepdims=True),
        age=jnp.zeros((n,)),
        source_id=jnp.full((n,), EMPTY, jnp.int32),
    )


def query(bank: MemoryBank, q: Float[Array, "b dk"], top_k: int = 1) -> Reading:
    """The `top_k` slots whose keys are nearest to `q` by cosine; equal scores: the lower slot first."""
    scores = numerics.matmul(numerics.normalize(q), bank.keys.T)
    scores, slots = jax.lax.top_k(scores, min(top_k, bank.keys.shape[0]))
    return Reading(values=bank.values[slots], scores=scores, slots=slots)


def _holds(bank: MemoryBank, slots: Int[Array, "b k"], values: Float[Array, "b dv"]) -> Bool[Array, "b k"]:
    """Which of the slots hold (nearly) the row's value."""
    stored = numerics.normalize(bank.values[slots])
    cosine = numerics.einsum("bkd,bd->bk", stored, numerics.normalize(values))
    return (cosine > SAME_VALUE) & (bank.source_id[slots] != EMPTY)


def memory_loss(
    bank: MemoryBank,
    q: Float[Array, "b dk"],
    values: Float[Array, "b dv"],
    *,
    top_k: int = TOP_K,
    margin: float = MARGIN,
) -> Float[Array, ""]:
    """Hinge loss that pulls a query to keys of its own identity: mean max(0, s_neg - s_pos + margin).

    Among the `top_k` nearest slots, s_pos and s_neg are the best scores with and without the row's value.
    Masked-out scores become 0, as in the reference, so without a positive s_pos is 0. The gradient reaches
    `q` only.
    """
    reading = query(jax.lax.stop_gradient(bank), q, top_k)
    positive = _holds(bank, reading.slots, values)
    s_pos = jnp.max(jnp.where(positive, reading.scores, 0.0), -1)
    s_neg = jnp.max(jnp.where(positive, 0.0, reading.scores), -1)
    return jnp.mean(jnp.maximum(s_neg - s_pos + margin, 0.0))


def update(
    bank: MemoryBank,
    q: Float[Array, "b dk"],
    values: Float[Array, "b dv"],
    key: Array,
    source: Int[Array, "b"],
) -> tuple[MemoryBank, UpdateReport]:
    """Writes a batch into the memory by the rule at the head of this file. No gradient passes.

    Args:
      bank: the memory before.
      q: spatial features, any length but zero.
      values: identity features of the same rows, stored as they are.
      key: the randomness of the ages; `jax.random.uniform(key, (n,), minval=-4, maxval=4)` is the noise.
      source: where each row came from, >= 0, kept for inspection.

    Returns:
      The memory after, and what happened to each row.
    """
    bank, q, values = jax.lax.stop_gradient((bank, q, values))
    # over several devices, each makes all decisions itself: a few rows are gathered, nothing is scattered
    q, values, source = (numerics.replicated(x) for x in (q, values, source))
    n = bank.keys.shape[0]
    q = numerics.normalize(q)
    nearest = numerics.replicated(query(bank, q, 1).slots)
    hit = numerics.replicated(_holds(bank, nearest, values)[:, 0])
    nearest = nearest[:, 0]
    age = bank.age + 1.0

    touched = jnp.zeros((n,), bool).at[jnp.where(hit, nearest, n)].set(True, mode="drop")
    noise = jax.random.uniform(key, (n,), minval=-AGE_NOISE, maxval=AGE_NOISE)
    slot = jnp.where(hit, nearest, _slots_for_misses(age + noise, touched, hit))
    slot = _last_row_wins(slot, n)

    new_keys = jnp.where(hit[:, None], numerics.normalize(bank.keys[nearest] + q), q)
    new_values = jnp.where(hit[:, None], bank.values[nearest], values)
    new_source = jnp.where(hit, bank.source_id[nearest], source.astype(jnp.int32))
    after = MemoryBank(
        keys=bank.keys.at[slot].set(new_keys, mode="drop"),
        values=bank.values.at[slot].set(new_values, mode="drop"),
        age=age.at[slot].set(0.0, mode="drop"),
        source_id=bank.source_id.at[slot].set(new_source, mode="drop"),
    )
    return after, UpdateReport(hit=hit, slot=jnp.where(slot < n, slot, -1).astype(jnp.int32))


def _slots_for_misses(
    priority: Float[Array, "n"], touched: Bool[Array, "n"], hit: Bool[Array, "b"]
) -> Int[Array, "b"]:
    """Slot of the m-th miss: the m-th largest priority among untouched slots; `n` (nowhere) if none is."""
    n, b = priority.shape[0], hit.shape[0]
    _, oldest = jax.lax.top_k(jnp.where(touched, -jnp.inf, priority), min(b, n))
    rank = jnp.cumsum(~hit) - 1
    free = n - jnp.sum(touched)
    wrapped = rank % jnp.maximum(free, 1)
    return jnp.where(free > 0, oldest[jnp.minimum(wrapped, oldest.shape[0] - 1)], n)


def _last_row_wins(slot: Int[Array, "b"], n: int) -> Int[Array, "b"]:
    """Sends a row to `n` (dropped) when a later row writes its slot; XLA leaves the scatter order open."""
    rows = jnp.arange(slot.shape[0])
    overruled = jnp.any((slot[:, None] == slot[None]) & (rows[None] > rows[:, None]), axis=1)
    return jnp.where(overruled, n, slot)
