"""The paper's audio network: size of the reference, its norm and LSTM in plain loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets.mapping_net import Lstm, PaperMappingNet, StepBatchNorm
from tests.nets.weights import draw, random_variables

SMALL = PaperMappingNet(out_dim=7, channels=(3, 4, 4, 5, 6), hidden=(8, 9), state=5)


@pytest.fixture(scope="module")
def small_variables():
    return random_variables(SMALL, draw(2, 3, 28, 12))


def test_paper_parameter_count() -> None:
    shapes = jax.eval_shape(
        PaperMappingNet().init, jax.random.key(0), jax.ShapeDtypeStruct((2, 16, 28, 12), jnp.float32)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 29_430_534


def test_paper_any_length_and_no_look_ahead(small_variables) -> None:
    x = draw(2, 9, 28, 12)
    apply = jax.jit(SMALL.apply)
    long = apply(small_variables, x)
    assert long.shape == (2, 9, 7)
    np.testing.assert_allclose(apply(small_variables, x[:, :4]), long[:, :4], atol=1e-5)
    assert jnp.abs(long[:, 1] - long[:, 2]).max() > 1e-4


@pytest.mark.parametrize("train", [False, True])
def test_paper_jit_equals_op_by_op(small_variables, train) -> None:
    x = draw(2, 3, 28, 12)

    def run(variables):
        return SMALL.apply(variables, x, train=train, mutable=["batch_stats"])

    jitted, eager = jax.jit(run)(small_variables), run(small_variables)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_batch_norm_takes_each_step_alone_and_one_after_the_other() -> None:
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 3, 2, 6)).astype(np.float32)
    norm = StepBatchNorm()
    variables = norm.init(jax.random.key(0), x, True)
    assert (variables["batch_stats"]["mean"] == 0).all()  # initialising is no update
    y, after = norm.apply(variables, x, True, mutable=["batch_stats"])
    scale = np.asarray(variables["params"]["scale"])
    running_mean, running_var = np.zeros(6), np.ones(6)
    for t in range(5):
        step = x[:, t].reshape(-1, 6).astype(np.float64)
        expected = (x[:, t] - step.mean(0)) / np.sqrt(step.var(0) + 1e-5) * scale
        np.testing.assert_allclose(y[:, t], expected, atol=1e-4)
        running_mean = 0.9 * running_mean + 0.1 * step.mean(0)
        running_var = 0.9 * running_var + 0.1 * step.var(0, ddof=1)
    np.testing.assert_allclose(after["batch_stats"]["mean"], running_mean, rtol=1e-4)
    np.testing.assert_allclose(after["batch_stats"]["var"], running_var, rtol=1e-4)
    calm = norm.apply({**variables, **after}, x, False)
    np.testing.assert_allclose(calm, (x - running_mean) / np.sqrt(running_var + 1e-5) * scale, atol=1e-4)


def test_lstm_against_a_loop() -> None:
    net, x = Lstm(3), draw(2, 6, 4)
    variables = net.init(jax.random.key(0), x)
    p = {name: np.asarray(v, np.float64) for name, v in variables["params"].items()}

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    out, last = net.apply(variables, x)
    h = c = np.zeros((2, 3))
    for t in range(6):
        z = (
            np.asarray(x[:, t]) @ p["kernel_input"]
            + p["bias_input"]
            + h @ p["kernel_state"]
            + p["bias_state"]
        )
        i, f, g, o = (z[:, 3 * k : 3 * k + 3] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(out[:, t], h, atol=1e-6)
    np.testing.assert_allclose(last, (h, c), atol=1e-6)


def test_paper_goes_on_where_it_stopped(small_variables) -> None:
    x = draw(2, 7, 28, 12)
    whole = SMALL.apply(small_variables, x)
    features = SMALL.apply(small_variables, x, method=SMALL.encode)
    first, states = SMALL.apply(small_variables, features[:, :4], SMALL.start_states(2), method=SMALL.decode)
    second, _ = SMALL.apply(small_variables, features[:, 4:], states, method=SMALL.decode)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-5)
