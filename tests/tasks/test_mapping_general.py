"""General training: what each loss term sees, that unknown targets are left out, that a step learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.losses import mapping as losses
from talkjax.tasks import mapping_general as general
from talkjax.tasks.mapping_general import GeneralBatch, GeneralMappingTask, GeneralScales

N_EXP, T, B = 4, 16, 3


@pytest.fixture(scope="module")
def task() -> GeneralMappingTask:
    rng = np.random.default_rng(0)
    scales = GeneralScales(
        mean=rng.normal(size=7 + N_EXP).astype(np.float32),
        scale=rng.uniform(0.5, 1, 7 + N_EXP).astype(np.float32),
        gap=np.array([0.2, 0, 0.1, 0], np.float32),
        gap_scale=np.float32(0.1),
    )
    return GeneralMappingTask(scales, n_phones=5, steps=50)


@pytest.fixture(scope="module")
def loss(task):
    return jax.jit(task.loss)


def make_batch(seed: int = 0) -> GeneralBatch:
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 3, (B, 4 * T, 40))
    face = sound.reshape(B, T, 4, 40).mean(2)
    return GeneralBatch(
        rows=sound.astype(np.float32), noise=np.zeros((B, 4 * T, 40), np.float32),
        channels=face[..., :7].astype(np.float32), exp=face[..., 7 : 7 + N_EXP].astype(np.float32),
        closed=(face[..., 0] > 0).astype(np.float32), speech=(face[..., 1] > 0).astype(np.float32),
        phones=(face[..., 2] > 0).astype(np.int32), valid=np.ones((B, T), bool),
    )  # fmt: skip


def perfect(task: GeneralMappingTask, batch: GeneralBatch) -> dict[str, jax.Array]:
    face = (np.concatenate([batch.channels, batch.exp], -1) - task.scales.mean) / task.scales.scale
    flags = 60 * np.stack([batch.closed, batch.speech], -1) - 30
    return {
        "face": jnp.asarray(face),
        "flags": jnp.asarray(flags),
        "phones": 60.0 * jax.nn.one_hot(batch.phones, 5),
    }


def test_the_truth_costs_nothing_and_a_mumble_costs_more_than_a_late_truth(task, loss) -> None:
    batch = make_batch()
    outputs = perfect(task, batch)
    total, terms = loss(outputs, batch)
    assert float(total) < 0.01 and all(float(term) < 0.01 for term in terms.values())
    mean = outputs["face"].mean(1, keepdims=True)
    mumble, terms = loss({**outputs, "face": mean + 0.1 * (outputs["face"] - mean)}, batch)
    assert float(terms["correlation"]) < 0.05  # the shape is right
    assert float(terms["spread"]) > 0.2 and float(mumble) > 0.5  # its size is not


def test_unknown_parts_are_left_out_and_give_no_nan(task, loss) -> None:
    batch = make_batch()
    outputs = perfect(task, batch)
    unknown = batch._replace(
        channels=np.full_like(batch.channels, np.nan), speech=np.full_like(batch.speech, np.nan),
        phones=np.full_like(batch.phones, -1),
    )  # fmt: skip
    wrong = {**outputs, "face": outputs["face"].at[..., :7].add(5.0), "phones": -outputs["phones"]}
    total, terms = loss(wrong, unknown)
    assert float(total) < 0.01 and float(terms["phones"]) == 0
    grads = jax.jit(jax.grad(lambda o: task.loss(o, unknown)[0]))(wrong)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    valid = batch.valid.copy()
    valid[:, 10:] = False
    damaged = {**outputs, "face": outputs["face"].at[:, 10:].add(5.0)}
    assert float(loss(damaged, batch._replace(valid=valid))[1]["exp"]) < 0.01
    assert float(loss(damaged, batch)[1]["exp"]) > 1


@pytest.mark.long
def test_steps_learn_and_the_same_step_is_the_same(task) -> None:
    step, state = jax.jit(task.train_step), task.init()
    again, _ = step(state, make_batch(0))
    first = None
    values = []
    for k in range(25):
        state, metrics = step(state, make_batch(k % 5))
        first = first or state
        values.append(float(metrics["loss"]))
    jax.tree.map(np.testing.assert_array_equal, again, first)
    assert np.isfinite(values).all() and np.mean(values[-5:]) < 0.92 * np.mean(values[:5])
    assert int(state.step) == 25
    out = jax.jit(task.eval_step)(state.params, make_batch(0))
    assert out["exp"].shape == (B, T, N_EXP) and out["flags"].shape == (B, T, 2)


def test_correlation_and_spread_against_numpy() -> None:
    rng = np.random.default_rng(2)
    p, t = rng.normal(size=(2, 60, 3)), rng.normal(size=(2, 60, 3))
    mask = rng.random((2, 60, 3)) < 0.8
    p[~mask] = 100  # must not be seen
    r, gap = [], []
    for b in range(2):
        for d in range(3):
            x, y = p[b, mask[b, :, d], d], t[b, mask[b, :, d], d]
            r.append(np.corrcoef(x, y)[0, 1])
            gap.append((x.std() - y.std()) ** 2)
    args = (jnp.asarray(p), jnp.asarray(t), jnp.asarray(mask))
    assert float(losses.one_minus_correlation(*args)) == pytest.approx(1 - np.mean(r), abs=5e-3)
    assert float(losses.spread_error(*args)) == pytest.approx(np.mean(gap), abs=5e-3)
    still = jnp.zeros((2, 60, 3))
    assert bool(jnp.isfinite(jax.grad(lambda x: losses.one_minus_correlation(x, *args[1:]))(still)).all())


def test_general_network_is_small() -> None:
    shapes = jax.eval_shape(general.general_net(43, 46).init, jax.random.key(0), jnp.zeros((1, 8, 40)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 300_000
