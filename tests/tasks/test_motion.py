"""Head motion's task: a step that learns, patterns that tell people apart, draws in a style."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.config import MotionConfig
from talkjax.data import motion_corpus
from talkjax.data.motion_weights import motion_weights_path
from talkjax.infer import personal_motion
from talkjax.losses.contrast import pattern_contrast
from talkjax.tasks.motion import MotionBatch, MotionState, MotionTask
from talkjax.train.params_file import load_params

QUICK = {"xla_backend_optimization_level": 0}
"""Compiles in half the time; a handful of small steps need no speed."""


@pytest.fixture(scope="module")
def batch() -> MotionBatch:
    corpus = motion_corpus.make_corpus(3, 8, seconds=20.0)
    normal, voice = corpus.normal[:, ::3], corpus.voice[:, ::3]
    return MotionBatch(normal[:, :80], voice[:, :80], normal[:, 80:128], voice[:, 80:128])


@pytest.fixture(scope="module")
def trained(batch):
    """The general weights after a few steps on one batch of new people, and the losses."""
    task = MotionTask("lite", steps=40, seed=1)
    variables = jax.tree.map(jnp.asarray, load_params(motion_weights_path())[0])
    shapes = jax.eval_shape(task.init).variables
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda x: x.shape, shapes)
    state = MotionState(variables, task.optimizer.init(variables["params"]), jnp.int32(0))
    step, losses = jax.jit(task.train_step, compiler_options=QUICK), []
    for _ in range(12):
        state, metrics = step(state, batch)
        losses.append(float(metrics["fit"]))
    return task, state, losses


def test_steps_make_the_told_keys_likelier(trained, batch):
    _, state, losses = trained
    assert losses[-1] < losses[0] - 0.2 and np.all(np.isfinite(losses))
    assert int(state.step) == 12


def test_sampling_depends_on_the_key_and_on_the_voice_two_keys_ahead(trained):
    task, state, _ = trained
    sample = jax.jit(task.sample)
    voice, pattern = np.zeros((1, 30, 3), np.float32), jnp.zeros((1, 10))
    one = sample(state.variables["params"], jax.random.key(0), voice, pattern)
    assert one.shape == (1, 30, 6) and np.isfinite(one).all()
    other = sample(state.variables["params"], jax.random.key(1), voice, pattern)
    assert np.abs(one - other).max() > 0.1
    louder = voice.copy()
    louder[0, 20:] = 1.0
    changed = np.abs(sample(state.variables["params"], jax.random.key(0), louder, pattern) - one)[0].max(1)
    assert changed[:18].max() < 1e-5 and changed[18:].max() > 0  # a bounded look-ahead: streaming works


def test_contrast_is_least_when_pairs_match():
    contrast = jax.jit(pattern_contrast)
    patterns = np.random.default_rng(0).normal(size=(6, 10))
    matched = float(contrast(patterns, patterns))
    assert matched < float(contrast(patterns, patterns[::-1]))
    same = np.ones((6, 10))
    assert float(contrast(same, same)) == pytest.approx(np.log(6))


def test_the_papers_step_runs_and_learns(monkeypatch):
    task = MotionTask("paper", steps=10)
    monkeypatch.setattr(task, "encoder", task.encoder.clone(width=8, hidden=(8,), layers=1))
    monkeypatch.setattr(task, "decoder", task.decoder.clone(width=8, channels=(8, 8, 8), layers=1))
    rng = np.random.default_rng(0)
    data = MotionBatch(
        rng.normal(size=(2, 20, 6)).astype(np.float32),
        np.zeros((2, 0), np.float32),
        rng.normal(size=(2, 10, 6)).astype(np.float32),
        rng.normal(size=(2, 40, 13)).astype(np.float32),
    )
    state, step = task.init(), jax.jit(task.train_step, compiler_options=QUICK)
    first = None
    for _ in range(6):
        state, metrics = step(state, data)
        first = first if first is not None else float(metrics["loss"])
    assert float(metrics["loss"]) < first
    judged = jax.eval_shape(task.eval_step, state, data)
    assert set(judged) == {"loss", "fit", "contrast"}
    shape = jax.eval_shape(task.predict, state.variables, data.told_voice, jnp.zeros((2, 10))).shape
    assert shape == (2, 10, 6)


# ------------------------------------------------------------------------------ the corpus


def test_the_corpus_follows_from_its_seed_in_any_division():
    whole = motion_corpus.make_corpus(7, 4, seconds=8.0)
    part = motion_corpus.make_corpus(7, 2, seconds=8.0, first=2)
    np.testing.assert_array_equal(whole.normal[2:], part.normal)
    np.testing.assert_array_equal(whole.voice[2:], part.voice)
    other = motion_corpus.make_corpus(8, 1, seconds=8.0)
    assert np.abs(whole.normal[0] - other.normal[0]).max() > 0.1
    np.testing.assert_allclose(whole.normal.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(whole.normal.std(1), 1, atol=0.02)


def test_people_who_care_for_the_voice_are_calmer_in_silence():
    rng = np.random.default_rng(0)
    temper = next(t for t in (motion_corpus.draw_temper(rng) for _ in range(99)) if t.calm < 0.4)
    voice = motion_corpus.draw_voice(rng, 3000)
    voice[1500:] = 0
    speed = np.abs(np.diff(motion_corpus.draw_motion(rng, temper, voice), axis=0)).mean(1)
    assert 0 < speed[1550:].mean() < 0.8 * speed[:1500].mean()


# ------------------------------------------------------------------------------ a person


def test_a_persons_decoder_has_their_spread_and_correlation_and_moves_in_silence():
    """With the general weights of the package, on a person whom they have never seen."""
    corpus = motion_corpus.make_corpus(99, 1, seconds=16.0)
    normal, voice = corpus.normal[0].astype(np.float64), corpus.voice[0]
    fitted, nats = personal_motion.fit_decoder(normal, voice, MotionConfig(steps=20))
    assert np.isfinite([nats["general"], nats["personal"]]).all()
    quiet = np.zeros((personal_motion.CALIBRATION[0], 500, 3), np.float32)
    drawn = personal_motion.draw_keys(fitted, quiet, seed=5)
    answer = np.zeros_like(drawn[0])
    series = np.stack([personal_motion.calibrated(fitted, d, answer) for d in drawn])
    spread = series.reshape(-1, 6).std(0)
    assert np.all(spread > 0.6) and np.all(spread < 1.3)
    want, got = np.corrcoef(normal.T), np.corrcoef(series.reshape(-1, 6).T)
    strongest = np.unravel_index(np.argmax(np.abs(want - np.eye(6))), (6, 6))
    assert got[strongest] == pytest.approx(want[strongest], abs=0.35)
    still = np.abs(np.diff(series, axis=1)).max(2) < 0.01
    assert still.mean() < 0.2  # idle motion: never frozen for long
