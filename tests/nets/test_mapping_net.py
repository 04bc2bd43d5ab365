"""Audio networks: size of the reference, its norm and LSTM in plain loops, and the lite net's linear path."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from talkjax.nets.mapping_lite import LiteMappingNet, ShiftConv, set_linear_path

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
        np.testing.assert_allclose(net.apply(variables, x)[:, t], h, atol=1e-6)


@pytest.mark.parametrize(("size", "stride", "dilation"), [(6, 2, 1), (3, 1, 2), (3, 1, 1)])
def test_shift_conv_is_same_padded_convolution(size, stride, dilation) -> None:
    net, x = ShiftConv(5, size, stride, dilation), draw(2, 3, 13, 4)
    variables = net.init(jax.random.key(0), x)
    dense = variables["params"]["Dense_0"]
    kernel = dense["kernel"].reshape(size, 4, 5)
    expected = lax.conv_general_dilated(
        x.reshape(6, 13, 4),
        kernel,
        (stride,),
        "SAME",
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    np.testing.assert_allclose(net.apply(variables, x).reshape(expected.shape), expected, atol=1e-5)


def test_lite_starts_as_the_given_regression() -> None:
    net, x = LiteMappingNet(3, width=12), draw(2, 5, 10, 4)
    weights, bias = draw(10, 4, 3, seed=1), draw(3, seed=2)
    variables = set_linear_path(jax.jit(net.init)(jax.random.key(0, impl="rbg"), x), weights, bias)
    expected = np.einsum("btrc,rco->bto", np.asarray(x), np.asarray(weights)) + np.asarray(bias)
    np.testing.assert_allclose(net.apply(variables, x), expected, atol=1e-5)
    with pytest.raises(ValueError, match="linear path expects"):
        set_linear_path(variables, weights[:9], bias)


def test_lite_is_small_and_trains_everywhere() -> None:
    shapes = jax.eval_shape(
        LiteMappingNet(70).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 9, 28, 40), jnp.float32)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 500_000
    net, x = LiteMappingNet(3, width=12), draw(2, 5, 10, 4)

    def loss(variables):
        return jnp.mean(jnp.square(net.apply(variables, x) - 1))

    variables = jax.jit(net.init)(jax.random.key(0, impl="rbg"), x)
    grad = jax.jit(jax.grad(loss))
    first = grad(variables)
    assert jnp.abs(first["params"]["out"]["kernel"]).max() > 0  # a zero layer that learns
    variables = jax.tree.map(lambda v, g: v - 0.1 * g, variables, first)
    assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grad(variables)))


def test_lite_dropout_takes_whole_channels_and_only_in_training() -> None:
    net, x = LiteMappingNet(3, width=12, dropout=0.5), draw(2, 5, 10, 4)
    variables = random_variables(net, x)

    def run(seed, train):
        rngs = {"dropout": jax.random.key(seed)}
        return net.apply(variables, x, train=train, rngs=rngs, capture_intermediates=True)

    np.testing.assert_array_equal(run(0, False)[0], run(1, False)[0])
    out, seen = run(0, True)
    assert jnp.abs(out - run(1, True)[0]).max() > 1e-3
    dropped = seen["intermediates"]["Dropout_0"]["__call__"][0] == 0  # b t rows c
    assert ((dropped.all((1, 2))) == dropped.any((1, 2))).all() and dropped.any() and not dropped.all()


def test_lite_jit_equals_op_by_op() -> None:
    net, x = LiteMappingNet(3, width=12), draw(2, 5, 10, 4)
    variables = random_variables(net, x)
    np.testing.assert_allclose(jax.jit(net.apply)(variables, x), net.apply(variables, x), atol=1e-4)
