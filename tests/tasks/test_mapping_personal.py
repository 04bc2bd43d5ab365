"""Fine-tuning of one person: start from the general outputs, frozen layers, pressed lips."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.tasks import mapping_personal as personal
from talkjax.tasks.mapping_general import general_net
from talkjax.tasks.mapping_targets import Targets
from tests.nets.weights import random_variables

N_EXP, T = 4, 24
FROZEN = ("front_0", "front_1")


@pytest.fixture(scope="module")
def targets() -> Targets:
    rng = np.random.default_rng(0)
    gap = np.array([0.1, 0.02, 0, 0], np.float32)
    closer = np.array([9.0, 5.0, 1.0, 0], np.float32)
    return Targets(
        mean=rng.normal(size=N_EXP + 6).astype(np.float32), scale=np.full(N_EXP + 6, 0.5, np.float32),
        lips=rng.normal(0, 0.05, (N_EXP, 6)).astype(np.float32), gap=gap, gap_mean=np.float32(0.05),
        gap_scale=np.float32(0.1), closer=closer / np.float32(gap @ closer), closed_gap=np.float32(-0.01),
        relative=np.float32(0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def general():
    return random_variables(general_net(N_EXP, 5), jnp.zeros((1, 8, 40)))["params"]


def test_start_reads_the_general_outputs_with_a_regression(targets, general) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(4 * 150, 40)).astype(np.float32)
    outputs, _ = general_net(N_EXP, 5).apply({"params": general}, rows[None])
    x = np.concatenate([outputs["face"][0], outputs["flags"][0]], 1)
    target = np.tanh(x[:, : N_EXP + 6]).astype(np.float32)
    closed = (x[:, 0] > x[:, 0].mean()).astype(np.float32)
    start = personal.general_start(general, x, target, closed, strength=1e-3)
    out = personal.personal_net(N_EXP).apply({"params": start}, rows[None])[0]["out"][0]
    wanted = np.concatenate([target, 4 * closed[:, None] - 2], 1)
    design = np.c_[x, np.ones(len(x))]
    expected = design @ np.linalg.lstsq(design, wanted, rcond=None)[0]
    np.testing.assert_allclose(out, expected, atol=0.02)


def test_steps_learn_and_leave_the_frozen_layers(targets, general) -> None:
    task = personal.PersonalMappingTask(N_EXP, steps=30, frozen=FROZEN)
    start = {
        **personal.trunk(general),
        "out": {"kernel": jnp.zeros((96, N_EXP + 7)), "bias": jnp.zeros(N_EXP + 7)},
    }
    state = task.init(targets, 3, start)
    rng = np.random.default_rng(2)
    rows = rng.normal(0, 3, (4, 4 * T, 40)).astype(np.float32)
    target = rows.reshape(4, T, 4, 40).mean(2)[..., : N_EXP + 6]
    batch = personal.PersonalBatch(rows, target, (target[..., 0] < 0).astype(np.float32))
    step, values = jax.jit(task.train_step), []
    for _ in range(20):
        state, metrics = step(state, batch)
        values.append(float(metrics["loss"]))
    assert np.isfinite(values).all() and values[-1] < values[0]
    for name in FROZEN:
        jax.tree.map(np.testing.assert_array_equal, state.params[name], start[name])
    assert jnp.abs(state.params["block_0"]["kernel"] - start["block_0"]["kernel"]).max() > 1e-5


def test_lips_are_pressed_where_closed_and_only_there(targets) -> None:
    rng = np.random.default_rng(3)
    out = rng.normal(size=(50, N_EXP + 7)).astype(np.float32)
    gap = targets.gap_mean + out[:, :N_EXP] @ targets.gap

    def finished(logit: float) -> tuple[np.ndarray, np.ndarray]:
        frame = np.asarray(
            personal.finish_frame(jnp.asarray(np.c_[out[:, :-1], np.full(50, logit)]), targets)
        )
        standard = (frame - targets.mean) / targets.scale
        return standard, targets.gap_mean + standard[:, :N_EXP] @ targets.gap

    open_frame, open_gap = finished(-5.0)
    np.testing.assert_allclose(open_frame, out[:, :-1], atol=1e-5)
    shut_frame, shut_gap = finished(8.0)
    np.testing.assert_allclose(shut_gap, np.minimum(gap, -0.01), atol=1e-4)
    np.testing.assert_allclose(shut_frame[:, N_EXP:], open_frame[:, N_EXP:], atol=1e-5)  # the head stays
    moved = shut_frame[gap > 0, :N_EXP] - open_frame[gap > 0, :N_EXP]
    assert np.allclose(moved[:, 3], 0, atol=1e-5) and np.abs(moved[:, 0]).min() > 0.01
    assert np.all(open_gap >= shut_gap - 1e-5)


def test_pressing_is_as_frequent_as_closures_and_as_decisive_as_they_are_sure() -> None:
    logits = np.random.default_rng(4).normal(size=400)
    sure, unsure, unknown = (personal.calibrated_press(logits, 0.25, auc) for auc in (0.99, 0.6, np.nan))
    probability = 1 / (1 + np.exp(-logits))
    middle = sure[0] + personal.PRESS_BELOW
    assert (probability > middle).mean() == pytest.approx(0.25, abs=0.01)
    assert sure[1] - middle == pytest.approx(0.1) and unsure[1] - middle == pytest.approx(0.4)
    np.testing.assert_array_equal(unsure, unknown)
    assert sure[0] == unsure[0]
