"""Operation counts against loops that count, XLA's own analysis, and hand sums; peaks of chips."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.train.chips import CHIPS, find_chip, measured_peak_flops, mfu, peak_flops
from talkjax.train.flops import count_flops, count_loop_turns


def _spec(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_matrix_products_and_loops():
    product = lambda a, b: jnp.einsum("bij,bjk->bik", a, b)  # noqa: E731
    assert count_flops(product, _spec(3, 4, 5), _spec(3, 5, 6)) == 2 * 3 * 4 * 5 * 6
    assert count_flops(jax.jit(product), _spec(3, 4, 5), _spec(3, 5, 6)) == 2 * 3 * 4 * 5 * 6

    def looped(w, xs):
        return jax.lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), xs[0], xs)[0]

    assert count_flops(looped, _spec(8, 8), _spec(7, 2, 8)) == 7 * 2 * 2 * 8 * 8
    forward_and_back = count_flops(jax.grad(lambda w, x: looped(w, x).sum()), _spec(8, 8), _spec(7, 2, 8))
    assert forward_and_back == 3 * 7 * 2 * 2 * 8 * 8  # the product, and its two in the way back
    assert count_loop_turns(looped, _spec(8, 8), _spec(7, 2, 8)) == 7
    by_platform = lambda a: jax.lax.platform_dependent(a, cpu=lambda a: a @ a @ a, default=lambda a: a @ a)  # noqa: E731
    assert count_flops(by_platform, _spec(4, 4)) == 2 * 4**3  # what is common, not the way around
    choice = lambda p, a: jax.lax.cond(p, lambda a: a @ a, lambda a: a, a)  # noqa: E731
    assert count_flops(choice, jax.ShapeDtypeStruct((), bool), _spec(4, 4)) == 2 * 4**3


def _loop_count(size, kernel, stride, padding, spread, gap, channels_in, channels_out, batch):
    """Every (output, tap) pair of a square convolution, asked one by one whether it meets real data."""
    full = (size - 1) * spread + 1
    out = (full + sum(padding) - (kernel - 1) * gap - 1) // stride + 1
    real = [
        sum(
            0 <= (place := o * stride + t * gap - padding[0]) < full and place % spread == 0
            for t in range(kernel)
        )
        for o in range(out)
    ]
    pairs = sum(a * b for a, b in itertools.product(real, real))
    return 2 * pairs * channels_in * channels_out * batch


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "spread", "gap"),
    [(8, 3, 1, (1, 1), 1, 1), (9, 4, 2, (1, 2), 1, 1), (5, 4, 1, (2, 2), 2, 1), (9, 3, 1, (0, 3), 1, 2)],
)
def test_convolutions(size, kernel, stride, padding, spread, gap):
    def convolution(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), (padding, padding), (spread, spread), (gap, gap),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    got = count_flops(convolution, _spec(2, size, size, 3), _spec(kernel, kernel, 3, 5))
    assert got == _loop_count(size, kernel, stride, padding, spread, gap, 3, 5, 2)


def test_agrees_with_the_compilers_analysis_where_that_counts_all():
    def loss(w, x):
        y = jax.lax.conv_general_dilated(
            x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
        )
        return jnp.sum(y**2)

    args = _spec(4, 4, 8, 16), _spec(8, 32, 32, 16)
    counted = count_flops(jax.grad(loss, (0, 1)), *args)
    analysis = jax.jit(jax.grad(loss, (0, 1))).lower(*args).cost_analysis()
    assert counted == pytest.approx(analysis["flops"], rel=0.03)  # the rest is elementwise


def test_peaks_and_utilization():
    assert peak_flops("TPU v5 lite") == 197e12 and peak_flops("TPU v5") == 459e12
    assert peak_flops("NVIDIA H200") == peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    for unknown in ("cpu", "", "NVIDIA L40S", "TPU v5 something", "NVIDIA H1000", "AMD Instinct MI300X"):
        assert peak_flops(unknown) is None
    for chip in CHIPS:
        assert all(find_chip(kind) == chip for kind in chip.kinds) and chip.source
        assert 1e13 < chip.flops < 2e15 and 1e11 < chip.memory_rate < 1e13
    assert mfu(197e12, 2.0, 4, 197e12) == pytest.approx(1 / 8)
    assert mfu(1.0, 1.0, 1, None) is None and mfu(1.0, 0.0, 1, 1e12) is None
    assert mfu(1.0, np.nan, 1, 1e12) is None


def test_measured_peak_is_a_rate_of_this_machine():
    rate = measured_peak_flops(size=256, repeats=2)
    assert 1e8 < rate < 1e15
