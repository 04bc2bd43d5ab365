"""Targets of a person, the linear path, and the paper's task with its losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.points import vertex_points
from talkjax.nets.mapping_net import PaperMappingNet
from talkjax.tasks import linear_path, mapping
from talkjax.tasks import mapping_targets as mt
from talkjax.tasks.mapping import MappingBatch, MappingTask
from talkjax.types import FaceModel
from tests.nets.weights import random_variables

N_EXP = 5


@pytest.fixture(scope="module")
def model() -> FaceModel:
    """468 points without a face's shape; what matters here is linear."""
    rng = np.random.default_rng(0)
    basis = rng.normal(0, 0.05, (N_EXP, 468, 3))
    mean = rng.normal(0, 0.3, (468, 3))
    mean[14, 1] = mean[13, 1]  # lips shut
    return FaceModel(
        mean=jnp.asarray(mean), id_basis=jnp.zeros((0, 468, 3)), exp_basis=jnp.asarray(basis),
        exp_signed=jnp.ones(N_EXP, bool), faces=jnp.zeros((0, 3), int), face_region=jnp.zeros(0, int),
        uvs=jnp.zeros((468, 2)),
        landmarks=vertex_points(np.arange(468), np.arange(468)), exp_names=tuple("abcde"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def motion(model) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    exp = rng.normal(0.1, 0.3, (200, N_EXP))
    exp[:, -1] *= 0.01  # an axis that hardly moves
    return exp, rng.normal([0, 0, 0, 0.1, 0.2, 3.0], 0.05, (200, 6))


def test_targets_standardise_and_keep_lips_in_decimetres(model, motion) -> None:
    exp, pose = motion
    targets = mt.fit_targets(exp, pose, model)
    standard = (np.concatenate([exp, pose], 1) - targets.mean) / targets.scale
    assert standard.std(0)[0] > 0.9 and standard.std(0)[N_EXP - 1] < 0.5  # rarely used: below one
    verts = np.asarray(model.mean) + np.einsum("te,enc->tnc", exp, np.asarray(model.exp_basis))
    gap = verts[:, 13, 1] - verts[:, 14, 1]
    np.testing.assert_allclose(targets.gap_mean + standard[:, :N_EXP] @ targets.gap, gap, atol=1e-5)
    moved = (verts - verts.mean(0))[:, mt.LIP_POINTS] * [1, 1, mt.DEPTH_WEIGHT]
    np.testing.assert_allclose(standard[:, :N_EXP] @ targets.lips, moved.reshape(200, -1), atol=1e-5)


def test_the_closer_opens_the_lips_by_one_decimetre_as_the_person_does(model, motion) -> None:
    exp, pose = motion
    targets = mt.fit_targets(exp, pose, model)
    assert targets.gap @ targets.closer == pytest.approx(1, abs=1e-4)
    gap = exp @ mt.lip_opening_axis(model)[1]
    standard = (exp - targets.mean[:N_EXP]) / targets.scale[:N_EXP]
    along = np.array([np.cov(x, gap)[0, 1] for x in standard.T])
    assert np.corrcoef(along, targets.closer)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("relative", [False, True])
def test_the_papers_pose_keeps_its_units(model, motion, relative) -> None:
    exp, pose = motion
    targets = mt.fit_targets(exp, pose, model, paper=True, relative=relative)
    np.testing.assert_array_equal(targets.scale[N_EXP:], 1)
    np.testing.assert_array_equal(targets.mean[N_EXP : N_EXP + 3], 0)
    offset = targets.mean[-1]
    assert offset == pytest.approx(0 if relative else pose[:, 5].mean(), abs=1e-5)
    steps = mt.relative_pose(pose)
    assert not steps[0].any()
    np.testing.assert_allclose(pose[0] + np.cumsum(steps, 0), pose, atol=1e-9)


@pytest.mark.parametrize("n_frames", [30, 250])  # fewer and more frames than unknowns
def test_linear_path_is_ridge_regression(n_frames) -> None:
    rng = np.random.default_rng(1)
    windows = rng.normal(1.0, 1.0, (n_frames, 7, 20))
    target = rng.normal(size=(n_frames, 3)) + windows[:, 2, :3]
    weights, bias = linear_path.fit_linear_path(windows, target, strength=10.0)
    flat = windows.reshape(n_frames, -1)
    centred, wanted = flat - flat.mean(0), target - target.mean(0)
    normal = np.linalg.solve(centred.T @ centred + 10.0 * np.eye(140), centred.T @ wanted)
    np.testing.assert_allclose(weights.reshape(140, 3), normal, atol=1e-5)
    predicted = linear_path.apply_linear_path(windows, (weights, bias))
    np.testing.assert_allclose(predicted, centred @ normal + target.mean(0), atol=1e-4)


def test_paper_task_learns_with_its_padded_head(model, motion, monkeypatch) -> None:
    """The reference's network, narrower; one sequence is repeated until it is known."""
    small = PaperMappingNet(
        out_dim=mapping.PAPER_EXPRESSIONS + 6, channels=(2, 2, 4, 4, 4), hidden=(16, 8), state=8
    )
    monkeypatch.setattr(mapping, "make_net", lambda n_exp: small)
    task = MappingTask(mt.fit_targets(*motion, model, paper=True))
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


def test_the_papers_loss_is_its_formula(model, motion) -> None:
    task = MappingTask(mt.fit_targets(*motion, model, paper=True))
    rng = np.random.default_rng(4)
    out, target = rng.normal(size=(2, 16, 70)), rng.normal(size=(2, 16, N_EXP + 6))
    wanted = np.concatenate([target[..., :-6], np.zeros((2, 16, 64 - N_EXP)), target[..., -6:]], -1)
    expected = np.mean((out - wanted)[..., :64] ** 2) + 0.2 * np.mean((out - wanted)[..., 64:] ** 2)
    steps = np.diff(out, axis=1) ** 2
    expected += 0.01 * steps[..., 64:].sum((1, 2)).mean() + 1e-4 * steps[..., :64].sum((1, 2)).mean()
    assert float(task.loss(jnp.asarray(out), jnp.asarray(target))) == pytest.approx(expected, rel=1e-4)


def test_the_papers_network_has_the_papers_size() -> None:
    shapes = jax.eval_shape(mapping.make_net(43).init, jax.random.key(0), jnp.zeros((1, 2, 28, 12)))
    assert sum(int(np.prod(p.shape)) for p in jax.tree.leaves(shapes["params"])) == 29_430_534
