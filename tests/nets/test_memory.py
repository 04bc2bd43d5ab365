"""The memory against a slow oracle, in every case of its write rule."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets import memory
from talkjax.types import MemoryBank
from tests.oracles import memory_oracle as oracle

DK, DV = 4, 5
IDENTITIES = np.eye(DV, dtype=np.float32)
update = jax.jit(memory.update)


def as_dict(bank: MemoryBank) -> dict[str, np.ndarray]:
    return {f.name: np.asarray(getattr(bank, f.name)) for f in dataclasses.fields(bank)}


def random_bank(rng: np.random.Generator, n: int, share_written: float = 0.6) -> MemoryBank:
    keys = rng.normal(size=(n, DK))
    written = rng.random(n) < share_written
    return MemoryBank(
        keys=jnp.asarray(keys / np.linalg.norm(keys, axis=1, keepdims=True), jnp.float32),
        values=jnp.asarray(IDENTITIES[rng.integers(0, 3, n)]),
        age=jnp.asarray(rng.integers(0, 9, n), jnp.float32),
        source_id=jnp.asarray(np.where(written, rng.integers(0, 99, n), -1), jnp.int32),
    )


def random_rows(rng: np.random.Generator, bank: MemoryBank, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries near existing keys, so that hits and duplicate hits are common; unit length is not assumed."""
    near = np.asarray(bank.keys)[rng.integers(0, len(bank.age), b)]
    q = (near + 0.2 * rng.normal(size=near.shape)) * rng.uniform(0.5, 3, (b, 1))
    return q.astype(np.float32), IDENTITIES[rng.integers(0, 3, b)]


def noise_of(key: jax.Array, n: int) -> np.ndarray:
    return np.asarray(jax.random.uniform(key, (n,), minval=-4.0, maxval=4.0))


def assert_same(bank: MemoryBank, expected: dict[str, np.ndarray]) -> None:
    for name, array in as_dict(bank).items():
        np.testing.assert_allclose(array, expected[name], atol=2e-6, err_msg=name)


@pytest.mark.parametrize(("n", "b"), [(7, 1), (7, 2), (3, 8), (1, 2), (40, 8)])
def test_update_equals_the_oracle_for_any_batch(n: int, b: int) -> None:
    seen = {"hit": 0, "miss": 0, "overruled": 0}
    for seed in range(25):
        rng = np.random.default_rng(seed)
        bank, key = random_bank(rng, n), jax.random.key(seed)
        q, values = random_rows(rng, bank, b)
        source = np.arange(100, 100 + b)
        after, report = update(bank, q, values, key, source)
        expected, rows = oracle.update_batch(as_dict(bank), q, values, noise_of(key, n), source)
        assert_same(after, expected)
        assert list(zip(np.asarray(report.hit), np.asarray(report.slot), strict=True)) == rows
        seen["hit"] += int(report.hit.sum())
        seen["miss"] += int((~report.hit).sum())
        seen["overruled"] += int((report.slot == -1).sum())
    assert seen["hit"] > 0 and seen["miss"] > 0
    if b >= n > 1:
        assert seen["overruled"] > 0


def test_rows_one_by_one_equal_the_reference_rule() -> None:
    rng = np.random.default_rng(0)
    bank = memory.init_bank(jax.random.key(5), 7, DK, DV)
    expected = as_dict(bank)
    hits = 0
    for step in range(40):
        q, value = rng.normal(size=(1, DK)).astype(np.float32), IDENTITIES[[step % 2]]
        key = jax.random.key(step)
        bank, report = update(bank, q, value, key, np.array([step]))
        expected = oracle.update_one(expected, q[0], value[0], noise_of(key, 7), step)
        assert_same(bank, expected)
        hits += int(report.hit.sum())
    assert 0 < hits < 40


def test_duplicate_hits_keep_the_last_row_only() -> None:
    bank = random_bank(np.random.default_rng(1), 7, share_written=1.0)
    q = np.asarray(bank.keys)[[2, 2]] + np.array([[0.1, 0, 0, 0], [0, 0.2, 0, 0]], np.float32)
    values = np.asarray(bank.values)[[2, 2]]
    both, report = update(bank, q, values, jax.random.key(0), np.array([1, 2]))
    last, _ = update(bank, q[1:], values[1:], jax.random.key(0), np.array([2]))
    assert_same(both, as_dict(last))
    assert report.slot.tolist() == [-1, 2]


def test_misses_take_distinct_oldest_slots() -> None:
    bank = memory.init_bank(jax.random.key(0), 40, DK, DV)
    bank = bank.replace(age=jnp.arange(40.0) * 10)  # further apart than the noise
    q = np.random.default_rng(0).normal(size=(8, DK)).astype(np.float32)
    values = IDENTITIES[np.zeros(8, int)]
    after, report = update(bank, q, values, jax.random.key(1), np.arange(8))
    assert report.slot.tolist() == [39, 38, 37, 36, 35, 34, 33, 32]
    assert after.source_id[32:].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_without_a_free_slot_misses_are_dropped() -> None:
    bank = random_bank(np.random.default_rng(2), 1, share_written=1.0)
    q = np.concatenate([np.asarray(bank.keys)] * 2)
    values = np.stack([np.asarray(bank.values)[0], IDENTITIES[4]])
    after, report = update(bank, q, values, jax.random.key(0), np.array([7, 8]))
    assert report.slot.tolist() == [0, -1]
    np.testing.assert_array_equal(after.values, bank.values)


def test_a_written_row_is_read_back() -> None:
    bank = memory.init_bank(jax.random.key(0), 40, DK, DV)
    q = np.random.default_rng(3).normal(size=(8, DK)).astype(np.float32)
    values = np.random.default_rng(4).random((8, DV)).astype(np.float32)
    bank, _ = update(bank, q, values, jax.random.key(1), np.arange(8))
    np.testing.assert_array_equal(memory.query(bank, 5.0 * q).values[:, 0], values)


def test_an_empty_bank_matches_nothing() -> None:
    bank = memory.init_bank(jax.random.key(0), 40, DK, DV)
    np.testing.assert_allclose(jnp.linalg.norm(bank.keys, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(bank.values.sum(1), 1, rtol=1e-5)
    assert (bank.values > 0).all()
    values = np.asarray(bank.values)[:8]  # even its own random values
    _, report = update(bank, np.asarray(bank.keys)[:8], values, jax.random.key(0), np.arange(8))
    assert not report.hit.any()


@pytest.mark.parametrize("top_k", [1, 3, 256])
def test_loss_equals_the_oracle(top_k: int) -> None:
    values_seen = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        bank = random_bank(rng, 9)
        q, values = random_rows(rng, bank, 3)
        got = float(memory.memory_loss(bank, q, values, top_k=top_k))
        assert got == pytest.approx(oracle.loss(as_dict(bank), q, values, top_k), abs=2e-6)
        values_seen.add(round(got, 3))
    assert len(values_seen) > 5


def test_loss_gradient_reaches_the_query_only() -> None:
    rng = np.random.default_rng(0)
    bank = random_bank(rng, 9)
    q, values = random_rows(rng, bank, 3)
    by_bank, by_q = jax.grad(memory.memory_loss, argnums=(0, 1), allow_int=True)(bank, q, values)
    assert not np.any(by_bank.keys) and not np.any(by_bank.values)
    direction = rng.normal(size=q.shape).astype(np.float32)
    h = 1e-3
    up, down = (memory.memory_loss(bank, q + s * h * direction, values) for s in (1, -1))
    assert float(jnp.sum(by_q * direction)) == pytest.approx(float(up - down) / (2 * h), rel=2e-2, abs=1e-3)
    assert np.any(by_q)
