"""Fast convolution forms against plain ones: same numbers, same gradients."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from talkjax.nets import convs
from tests.nets.weights import draw

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel, stride, padding):
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)


def transposed(x, kernel):
    # lax.conv_transpose correlates; our kernel is laid out for scattering, hence the flip
    pads = [(2, 2), (2, 2)]
    return lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), pads, dimension_numbers=LAYOUT)


def assert_same_function(ours, theirs, x, kernel):
    """Value and both gradients, jitted, relative to the largest entry."""

    def both(function):
        def run(x, kernel):
            y, back = jax.vjp(function, x, kernel)
            return (y, *back(draw(*y.shape, seed=9)))

        return jax.jit(run)(x, kernel)

    for name, a, b in zip(("value", "dx", "dkernel"), both(ours), both(theirs), strict=True):
        assert a.shape == b.shape
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(a / scale, b / scale, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "height"),
    [(1, 1, 0, 20), (3, 1, 1, 20), (3, 2, 1, 12), (4, 2, 1, 40), (4, 2, 1, 9), (4, 1, 1, 20)],
)
def test_conv_and_its_gradients(batch, size, stride, padding, height) -> None:
    x, kernel = draw(batch, height, height + 2, 5), draw(size, size, 5, 6, seed=1)
    ours = partial(convs.conv, stride=stride, padding=padding)
    assert_same_function(ours, partial(plain, stride=stride, padding=padding), x, kernel)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (3, 16, 4), (1, 18, 17), (3, 18, 4)])
def test_conv_up_and_its_gradients(shape) -> None:
    assert_same_function(convs.conv_up, transposed, draw(*shape, 6), draw(4, 4, 6, 5, seed=1))


def test_conv_up_is_a_scatter() -> None:
    x, kernel = draw(1, 3, 4, 2), draw(4, 4, 2, 3, seed=1)
    out = np.zeros((1, 10, 12, 3))
    for i in range(3):
        for j in range(4):
            for k in range(4):
                for m in range(4):
                    out[0, 2 * i + k, 2 * j + m] += np.asarray(x[0, i, j]) @ np.asarray(kernel[k, m])
    np.testing.assert_allclose(convs.conv_up(x, kernel), out[:, 1:7, 1:9], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_head_and_its_gradients(batch) -> None:
    x, kernel = draw(batch, 18, 12, 6), draw(7, 7, 6, 4, seed=1)
    assert_same_function(convs.conv_head, partial(plain, stride=1, padding=3), x, kernel)


def test_few_outputs_and_its_gradients() -> None:
    x, kernel = draw(2, 11, 9, 6), draw(4, 4, 6, 1, seed=1)
    ours = partial(convs.conv_few_outputs, padding=1)
    assert_same_function(ours, partial(plain, stride=1, padding=1), x, kernel)


@pytest.mark.parametrize("block", [2, 4])
def test_space_to_depth_order_and_inverse(block) -> None:
    x = draw(2, 8, 12, 3)
    folded = convs.space_to_depth(x, block)
    np.testing.assert_array_equal(folded[1, 1, 2, :3], x[1, block, 2 * block])
    np.testing.assert_array_equal(folded[1, 1, 2, 3:6], x[1, block, 2 * block + 1])
    np.testing.assert_array_equal(convs.depth_to_space(folded, block), x)


@pytest.mark.parametrize("block", [2, 4])
def test_linear_blocks_and_their_gradients(block) -> None:
    x, kernel = draw(2, 8, 12, 3), draw(block * block * 3, 5, seed=1)

    def blocks(x, kernel):
        b, h, w, c = x.shape
        rows = x.reshape(b, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
        return jnp.einsum("bhwijc,ijcd->bhwd", rows, kernel.reshape(block, block, c, -1))

    assert_same_function(partial(convs.linear_blocks, block=block), blocks, x, kernel)


@pytest.mark.parametrize("form", [partial(convs.conv, stride=2, padding=1), convs.conv_up, convs.conv_head])
def test_gradient_inside_a_rolled_scan(form) -> None:
    size = 7 if form is convs.conv_head else 4
    xs, kernel = draw(3, 1, 8, 8, 2), draw(size, size, 2, 3, seed=1)

    def descend(kernel, x):
        return kernel - 0.1 * jax.grad(lambda k: jnp.sum(jnp.sin(form(x, k))))(kernel), None

    rolled, _ = jax.jit(lambda kernel: lax.scan(descend, kernel, xs))(kernel)
    one_by_one = kernel
    for x in xs:
        one_by_one, _ = descend(one_by_one, x)
    np.testing.assert_allclose(rolled, one_by_one, atol=1e-5)


def test_exported_program_carries_all_platforms() -> None:
    (b,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((b, 8, 8, 2), jnp.float32)
    kernel = jax.ShapeDtypeStruct((4, 4, 2, 3), jnp.float32)
    exported = jax.export.export(jax.jit(convs.conv_up), platforms=("cpu", "cuda", "tpu"))(x, kernel)
    x, kernel = draw(3, 8, 8, 2), draw(4, 4, 2, 3, seed=1)
    np.testing.assert_allclose(exported.call(x, kernel), transposed(x, kernel), atol=1e-5)


def test_gradients_keep_bfloat16() -> None:
    x, kernel = draw(1, 8, 8, 2).astype(jnp.bfloat16), draw(4, 4, 2, 3, seed=1).astype(jnp.bfloat16)
    for form in (partial(convs.conv, stride=2, padding=1), convs.conv_up):
        grad = jax.grad(lambda x, k, form=form: form(x, k).astype(jnp.float32).sum(), (0, 1))
        grads = jax.eval_shape(grad, x, kernel)
        assert all(g.dtype == jnp.bfloat16 for g in grads)


@pytest.mark.parametrize(
    ("shape", "strides"), [((2, 28, 12, 5), (1, 2)), ((3, 26, 5, 4), (2, 2)), ((1, 3, 3, 2), (2, 1))]
)
def test_max_pool_and_its_gradient_are_those_of_the_window_reduction(shape, strides):
    x = jnp.asarray(np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape), jnp.float32)

    def windows(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, *strides, 1), "VALID")

    expected, pull = jax.vjp(windows, x)
    got, own_pull = jax.vjp(lambda x: convs.max_pool3(x, strides), x)
    np.testing.assert_array_equal(got, expected)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=got.shape).astype(np.float32))
    np.testing.assert_allclose(own_pull(weight)[0], pull(weight)[0], atol=1e-5)
    np.testing.assert_allclose(jax.jit(convs.max_pool3, static_argnums=1)(x, strides), got)
