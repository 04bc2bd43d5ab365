"""Motion encoder and decoder: the paper's sizes, the density against scipy, sampling against the density."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from talkjax.audio.rhythm import voice_rhythm
from talkjax.nets import motion_decoder, motion_encoder
from talkjax.nets.motion_decoder import LiteMotionDecoder, NextKey, PaperMotionDecoder
from talkjax.nets.motion_encoder import LiteMotionEncoder, PaperMotionEncoder
from tests.nets.weights import random_variables


def _count(shapes) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


def test_the_papers_networks_have_the_papers_sizes():
    """1.76 M and 10.66 M in reference.md §3.6; counted there layer by layer."""
    key = jax.random.key(0)
    encoder = jax.eval_shape(PaperMotionEncoder().init, key, jnp.zeros((1, 300, 6)))
    decoder = jax.eval_shape(PaperMotionDecoder().init, key, jnp.zeros((1, 400, 13)), jnp.zeros((1, 10)))
    lstm = lambda n: 4 * 256 * (n + 256) + 2 * 4 * 256  # noqa: E731
    linear = 1536 * 256 + 256 * 128 + 128 * 64 + 64 * 32 + 32 * 10 + 256 + 128 + 64 + 32 + 10
    assert _count(encoder) == lstm(6) + 2 * lstm(256) + linear == 1_760_042
    convs = 256 * 1024 * 28 + 1024 + 1034 * 512 * 3 + 512 + 512 * 256 * 3 + 256 + 256 * 6 + 6
    assert _count(decoder) == lstm(13) + 2 * lstm(256) + convs + 2 * (512 + 256) == 10_656_518


def test_the_papers_decoder_gives_a_pose_per_frame_for_any_length():
    net = PaperMotionDecoder(width=8, channels=(16, 12, 8))
    for frames in (1, 7, 20):
        out = jax.eval_shape(
            net.init_with_output, jax.random.key(0), jnp.zeros((2, 4 * frames, 13)), jnp.zeros((2, 10))
        )[0]
        assert out.shape == (2, frames, 6)


def test_lstm_returns_its_last_state_and_order_matters():
    net = motion_encoder.StateLstm(5)
    x = jax.random.normal(jax.random.key(1), (2, 9, 3))
    (out, h, c), variables = net.init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(out[:, -1], h)
    p = jax.tree.map(np.float64, variables["params"])
    state, cell = np.zeros((2, 5)), np.zeros((2, 5))
    for step in np.asarray(x, np.float64).swapaxes(0, 1):
        z = step @ p["kernel_input"] + state @ p["kernel_state"] + p["bias_input"] + p["bias_state"]
        i, f, g, o = np.split(z, 4, -1)
        sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
    np.testing.assert_allclose(h, state, atol=1e-6)
    np.testing.assert_allclose(c, cell, atol=1e-6)


@pytest.fixture(scope="module")
def mixture() -> NextKey:
    rng = np.random.default_rng(0)
    root = np.tril(rng.normal(0, 0.5, (2, 6, 6)))
    root[:, range(6), range(6)] = rng.uniform(1, 3, (2, 6))
    return NextKey(jnp.array([0.3, -0.5]), jnp.asarray(rng.normal(0, 1, (2, 6))), jnp.asarray(root))


def test_density_is_scipys(mixture):
    weight = np.exp(mixture.logits) / np.exp(mixture.logits).sum()
    for point in np.random.default_rng(1).normal(0, 1, (4, 6)):
        wanted = 0.0
        for w, mean, root in zip(weight, mixture.mean, np.asarray(mixture.inverse_root), strict=True):
            covariance = np.linalg.inv(root.T.astype(np.float64) @ root)
            wanted += w * stats.multivariate_normal(np.asarray(mean), covariance).pdf(point)
        got = motion_decoder.log_density(jnp.asarray(point), mixture)
        assert float(got) == pytest.approx(np.log(wanted), abs=2e-4)


def test_draws_have_the_mixtures_mean_and_covariance(mixture):
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (40_000, *x.shape)), mixture)
    drawn = np.asarray(motion_decoder.draw(jax.random.key(3), many))
    weight = np.exp(mixture.logits) / np.exp(mixture.logits).sum()
    mean = weight @ np.asarray(mixture.mean)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03)
    second = sum(
        w * (np.linalg.inv(r.T @ r) + np.outer(m, m))
        for w, m, r in zip(weight, np.asarray(mixture.mean), np.asarray(mixture.inverse_root), strict=True)
    )
    np.testing.assert_allclose(np.cov(drawn.T), second - np.outer(mean, mean), atol=0.05)


def test_stepping_is_the_same_as_seeing_the_whole():
    """The teacher-forced pass and the step that sampling uses are one network; jit equals op by op."""
    net = LiteMotionDecoder(width=7, mixtures=2)
    keys = jax.random.split(jax.random.key(0), 3)
    seen, heard = jax.random.normal(keys[0], (2, 5, 6)), jax.random.normal(keys[1], (2, 5, 15))
    pattern = jax.random.normal(keys[2], (2, 10))
    variables = random_variables(net, seen, heard, pattern)
    whole = jax.jit(net.apply)(variables, seen, heard, pattern)
    with jax.disable_jit():
        state = net.apply(variables, 2, method="start")
        for k in range(5):
            memory, of = net.apply(variables, state, heard[:, k], pattern, method="step")
            for got, wanted in zip(of, whole, strict=True):
                np.testing.assert_allclose(got, wanted[:, k], rtol=2e-4, atol=2e-5)
            state = (memory, seen[:, k], state[1])


def test_decoder_hears_two_keys_ahead_and_no_further():
    voice = jnp.zeros((1, 9, 3)).at[0, 4].set(1.0)
    heard = np.asarray(motion_decoder.hear(voice))
    assert heard.shape == (1, 9, 15)
    assert np.flatnonzero(heard[0].any(1)).tolist() == [2, 3, 4, 5, 6]


def test_encoder_jit_equals_op_by_op_and_forgets_order_of_rests():
    net = LiteMotionEncoder(width=6)
    series, voice = jax.random.normal(jax.random.key(1), (2, 12, 6)), jnp.ones((2, 12, 3))
    variables = random_variables(net, series, voice)
    compiled = jax.jit(net.apply)(variables, series, voice)
    with jax.disable_jit():
        np.testing.assert_allclose(net.apply(variables, series, voice), compiled, atol=1e-5)
    assert compiled.shape == (2, 10) and np.abs(compiled).max() <= 1


def test_rhythm_is_the_same_at_any_loudness_and_zero_in_silence():
    t = np.arange(4 * 16_000) / 16_000
    speech = np.sin(2 * np.pi * 180 * t) * np.clip(np.sin(2 * np.pi * 2.5 * t), 0, 1) * (t > 1) * (t < 3)
    noise = np.random.default_rng(0).normal(0, 1e-3, len(t))
    loud = np.asarray(voice_rhythm(jnp.asarray(0.5 * speech + noise, jnp.float32), 100))
    quiet = np.asarray(voice_rhythm(jnp.asarray(0.05 * speech + 0.1 * noise, jnp.float32), 100))
    np.testing.assert_allclose(loud, quiet, atol=0.02)
    assert loud[30:70, 0].mean() > 0.6 and loud[:20].max() == 0 and loud[85:].max() == 0
    assert loud.min() >= 0 and loud.max() <= 1
    onsets = np.flatnonzero(
        (loud[1:-1, 2] > loud[:-2, 2]) & (loud[1:-1, 2] >= loud[2:, 2]) & (loud[1:-1, 2] > 0.2)
    )
    assert 4 <= len(onsets) <= 6  # five bursts
    assert np.asarray(voice_rhythm(jnp.zeros(16_000), 25)).max() == 0
