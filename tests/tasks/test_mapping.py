"""The mapping's task: ridge against plain numpy, blending, and training steps that learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets.mapping_net import PaperMappingNet
from talkjax.tasks import mapping
from talkjax.tasks.mapping import MappingBatch, MappingTask
from tests.nets.weights import random_variables

N_EXP, N_LIPS = 7, 4
LENGTH = 16


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients `[200 e]`, poses `[200 6]` and a lip basis `[e k 3]`."""
    rng = np.random.default_rng(0)
    exp = rng.uniform(0, 1, (200, N_EXP)) * np.geomspace(1, 0.01, N_EXP)
    return exp, rng.normal(0, 0.1, (200, 6)), rng.normal(0, 0.05, (N_EXP, N_LIPS, 3))


@pytest.fixture(scope="module")
def targets(clip) -> mapping.Targets:
    return mapping.fit_targets(*clip)


def _batch(targets: mapping.Targets, seed: int = 0) -> MappingBatch:
    """Sequences whose target is a fixed linear function of the middle rows of sound."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 4 * LENGTH + 2 * mapping.CONTEXT_ROWS, 40)).astype(np.float32)
    mixing = np.random.default_rng(99).normal(size=(40, N_EXP + 6)) / 6
    middle = (
        rows[:, mapping.CONTEXT_ROWS : mapping.CONTEXT_ROWS + 4 * LENGTH].reshape(4, LENGTH, 4, 40).mean(2)
    )
    return MappingBatch(rows, (2 * middle @ mixing).astype(np.float32))


def test_targets_standardise_and_keep_lips_in_decimetres(clip, targets):
    exp, pose, lips = clip
    values = np.concatenate([exp, pose], axis=1)
    standard = (values - targets.mean) / targets.scale
    assert np.all(standard.std(0) < 1) and standard.std(0)[0] > 0.9  # rarely used axes stay below one
    assert standard.std(0)[N_EXP - 1] < 0.5
    moved = np.einsum("te,ekc->tkc", exp - exp.mean(0), lips).reshape(200, -1)
    np.testing.assert_allclose(standard[:, :N_EXP] @ targets.lips, moved, atol=1e-5)


@pytest.mark.parametrize("n_frames", [30, 250])  # fewer and more frames than unknowns
def test_linear_path_is_ridge_regression(n_frames):
    rng = np.random.default_rng(1)
    windows = rng.normal(1.0, 1.0, (n_frames, 7, 20))
    target = rng.normal(size=(n_frames, 3)) + windows[:, 2, :3]
    weights, bias = mapping.fit_linear_path(windows, target, strength=10.0)
    flat = windows.reshape(n_frames, -1)
    centred, wanted = flat - flat.mean(0), target - target.mean(0)
    normal = np.linalg.solve(centred.T @ centred + 10.0 * np.eye(140), centred.T @ wanted)
    np.testing.assert_allclose(weights.reshape(140, 3), normal, atol=1e-5)
    predicted = np.einsum("trb,rbo->to", windows, weights) + bias
    np.testing.assert_allclose(predicted, centred @ normal + target.mean(0), atol=1e-4)


@pytest.fixture(scope="module")
def lite(targets) -> tuple[MappingTask, mapping.MappingState]:
    task = MappingTask("lite", targets, steps=100)
    return task, task.init()


def test_blended_variables_predict_the_blend(lite, targets):
    task, state = lite
    rng = np.random.default_rng(2)
    variables = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(0, 0.05, p.shape)), state.variables)
    params = dict(variables["params"])  # the linear path is unused during training
    params["linear_path"] = jax.tree.map(jnp.zeros_like, params["linear_path"])
    variables = {**variables, "params": params}
    windows = rng.normal(size=(9, 28, 40)).astype(np.float32)
    weights = rng.normal(0, 0.1, (28, 40, N_EXP + 6)).astype(np.float32)
    bias = rng.normal(size=N_EXP + 6).astype(np.float32)
    alone = np.asarray(task.predict(variables, jnp.asarray(windows)))
    line = (np.einsum("trb,rbo->to", windows, weights) + bias) * targets.scale + targets.mean
    assert np.abs(alone - line).max() > 0.1
    for share in (0.0, 0.3, 1.0):
        blended = mapping.blend_linear_path(variables, weights, bias, share)
        out = np.asarray(task.predict(blended, jnp.asarray(windows)))
        np.testing.assert_allclose(out, share * line + (1 - share) * alone, atol=2e-4)


def test_steps_lower_the_loss_also_on_unseen_sequences(lite, targets):
    task, state = lite
    step = jax.jit(task.train_step)

    def error(state: mapping.MappingState) -> float:
        batch = _batch(targets, seed=1000)
        windows = np.stack([batch.sound[0, 4 * k : 4 * k + 28] for k in range(LENGTH)])
        out = np.asarray(task.predict(state.variables, jnp.asarray(windows)))
        return float(np.mean(((out - targets.mean) / targets.scale - batch.target[0]) ** 2))

    before, losses = error(state), []
    for k in range(80):
        state, metrics = step(state, _batch(targets, seed=k))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert error(state) < 0.8 * before
    assert int(state.step) == 80


def test_a_step_is_pure_and_its_gradient_is_the_plain_losss_slope(lite, targets):
    """Forward pass compiled and plain; the compiled gradient against differences of the plain loss."""
    task, state = lite
    before = jax.tree.map(np.asarray, state)
    batch = _batch(targets)
    windows = jnp.asarray(np.random.default_rng(5).normal(size=(12, 28, 40)), jnp.float32)
    plain = np.asarray(task.predict(state.variables, windows))
    np.testing.assert_allclose(np.asarray(jax.jit(task.predict)(state.variables, windows)), plain, atol=1e-4)

    def loss(params):
        return task.loss(
            task.net.apply({"params": params}, windows[None]), jnp.asarray(batch.target[:1, :12])
        )

    params = state.variables["params"]
    gradient = jax.jit(jax.grad(loss))(params)
    length = float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient))))
    step = 0.02 / length
    ahead, behind = (
        float(loss(jax.tree.map(lambda p, g, sign=sign: p + sign * step * g, params, gradient)))
        for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(length**2, rel=0.02)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, state))


def test_lips_count_as_much_as_they_move(lite, targets):
    task, _ = lite
    wanted = jnp.zeros((1, LENGTH, N_EXP + 6))
    influence = np.linalg.norm(targets.lips, axis=1)
    errors = [
        float(task.loss(wanted.at[..., e].set(0.5), wanted))
        for e in (int(influence.argmin()), int(influence.argmax()))
    ]
    assert errors[1] > 2 * errors[0] > 0
    assert float(task.loss(wanted, wanted)) == pytest.approx(0, abs=1e-8)


def test_augmentation_changes_rows_but_hides_at_most_seven_bands():
    rows = jnp.ones((3, 50, 40)) * 5
    out = np.asarray(mapping.augment_rows(jax.random.key(0), rows))
    hidden = np.all(out == 0, axis=1)
    assert hidden.sum(1).max() <= 7 and not np.array_equal(out, rows)
    assert 3 < out[~np.repeat(hidden[:, None], 50, 1)].mean() < 7


def test_padded_rows_repeat_the_edges():
    rows = np.arange(8.0)[:, None] * np.ones((1, 40))
    out = mapping.padded_rows(rows, 2)[:, 0]
    assert len(out) == 8 + 2 * mapping.CONTEXT_ROWS
    np.testing.assert_array_equal(out[12:20], np.arange(8.0))
    assert np.all(out[:12] == 0) and np.all(out[20:] == 7)


def test_paper_preset_learns_with_its_padded_head(targets, monkeypatch):
    """The reference's network, narrower; one sequence is repeated until it is known."""
    small = PaperMappingNet(
        out_dim=mapping.PAPER_EXPRESSIONS + 6, channels=(2, 2, 4, 4, 4), hidden=(16, 8), state=8
    )
    monkeypatch.setattr(mapping, "make_net", lambda preset, n_exp: small)
    task = MappingTask("paper", targets, steps=10)
    variables = random_variables(small, jnp.zeros((1, 6, 28, 12)))
    state = mapping.MappingState(variables, task.optimizer.init(variables["params"]), jnp.int32(0))
    rng = np.random.default_rng(3)
    batch = MappingBatch(
        rng.normal(size=(2, 6, 28, 12)).astype(np.float32),
        rng.normal(size=(2, 6, N_EXP + 6)).astype(np.float32),
    )
    step, losses = jax.jit(task.train_step), []
    old_mean = jax.tree.leaves(state.variables["batch_stats"])[0]
    for _ in range(25):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert not np.array_equal(old_mean, jax.tree.leaves(state.variables["batch_stats"])[0])
    out = task.predict(state.variables, jnp.asarray(batch.sound[0]))
    assert out.shape == (6, N_EXP + 6) and bool(jnp.isfinite(out).all())


def test_the_papers_network_has_the_papers_size(targets):
    net = mapping.make_net("paper", N_EXP)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 2, 28, 12)))
    assert sum(int(np.prod(p.shape)) for p in jax.tree.leaves(shapes["params"])) == 29_430_534
