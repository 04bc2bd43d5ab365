"""Losses against sums written out in numpy loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.losses import adversarial, mapping, reconstruction, regularization

rng = np.random.default_rng(0)


def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)


def test_mapping_means_run_over_everything() -> None:
    a, b = draw(3, 16, 6), draw(3, 16, 6)
    expected = sum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)) / (3 * 16 * 6)
    assert float(mapping.mse_expression(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(mapping.mse_pose(a, b)) == pytest.approx(expected, rel=1e-5)


def test_mapping_smoothness_sums_over_time_and_averages_over_the_batch() -> None:
    a = draw(3, 16, 6)
    total = 0.0
    for b in range(3):
        for t in range(15):
            for d in range(6):
                total += (a[b, t + 1, d] - a[b, t, d]) ** 2
    assert float(mapping.smooth_pose(a)) == pytest.approx(total / 3, rel=1e-5)
    assert float(mapping.smooth_expression(a)) == pytest.approx(total / 3, rel=1e-5)


def test_velocity_ignores_an_offset() -> None:
    a, b = draw(2, 5, 3), draw(2, 5, 3)
    change = [(a[:, t + 1] - a[:, t]) - (b[:, t + 1] - b[:, t]) for t in range(4)]
    expected = np.mean(np.square(change))
    assert float(mapping.velocity(a, b)) == pytest.approx(expected, rel=1e-5)
    assert float(mapping.velocity(a + 7, b)) == pytest.approx(expected, rel=1e-4)


def test_bce_is_the_log_of_the_probability() -> None:
    logits = draw(2, 3, 3, 1).astype(np.float64)
    p = 1 / (1 + np.exp(-logits))
    assert float(adversarial.bce_logits(logits, 1.0)) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert float(adversarial.bce_logits(logits, 0.0)) == pytest.approx(-np.log(1 - p).mean(), rel=1e-5)
    assert float(adversarial.adversarial_generator(logits)) == pytest.approx(-np.log(p).mean(), rel=1e-5)


def test_discriminator_is_half_the_sum() -> None:
    real, fake = draw(1, 4, 4, 1), draw(1, 4, 4, 1)
    expected = 0.5 * (np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean())
    assert float(adversarial.adversarial_discriminator(real, fake)) == pytest.approx(expected, rel=1e-5)
    expected = 0.5 * (((real - 1) ** 2).mean() + (fake**2).mean())
    assert float(adversarial.least_squares_discriminator(real, fake)) == pytest.approx(expected, rel=1e-5)
    assert float(adversarial.least_squares_generator(fake)) == pytest.approx(
        ((fake - 1) ** 2).mean(), rel=1e-5
    )


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_bce_and_its_gradient_stay_finite(logit) -> None:
    for target in (0.0, 1.0):
        value, slope = jax.value_and_grad(adversarial.bce_logits)(jnp.full((2,), logit), target)
        assert np.isfinite(value) and np.isfinite(slope).all()
    assert float(adversarial.bce_logits(jnp.full((2,), 1e4), 0.0)) == pytest.approx(1e4)


def test_l1_weight_is_not_normalized() -> None:
    a, b, w = draw(2, 4, 4, 3), draw(2, 4, 4, 3), rng.random((2, 4, 4, 1)).astype(np.float32)
    assert float(reconstruction.l1(a, b)) == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert float(reconstruction.l1(a, b, w)) == pytest.approx((np.abs(a - b) * w).mean(), rel=1e-5)
    assert float(reconstruction.l1(a, b, 3 * w)) == pytest.approx(3 * (np.abs(a - b) * w).mean(), rel=1e-5)


def test_gradient_l1_sees_edges_only() -> None:
    a, b = draw(2, 4, 6, 3), draw(2, 4, 6, 3)
    e = a - b
    horizontal = np.mean([abs(e[:, :, j + 1] - e[:, :, j]) for j in range(5)])
    vertical = np.mean([abs(e[:, i + 1] - e[:, i]) for i in range(3)])
    assert float(reconstruction.gradient_l1(a, b)) == pytest.approx(horizontal + vertical, rel=1e-5)
    assert float(reconstruction.gradient_l1(a + 2, a)) == pytest.approx(0, abs=1e-6)
    ones = np.ones((2, 4, 6, 1), np.float32)
    assert float(reconstruction.gradient_l1(a, b, ones)) == pytest.approx(horizontal + vertical, rel=1e-5)


def test_multi_scale_l1_averages_blocks() -> None:
    a, b, w = draw(2, 8, 4, 3), draw(2, 8, 4, 3), rng.random((2, 8, 4, 1)).astype(np.float32)
    e = (a - b) * w
    total = 0.0
    for n in (2, 4):
        blocks = [e[:, i : i + n, j : j + n].mean((1, 2)) for i in range(0, 8, n) for j in range(0, 4, n)]
        total += np.abs(blocks).mean()
    assert float(reconstruction.multi_scale_l1(a, b, w)) == pytest.approx(total, rel=1e-4)


def test_total_variation_is_a_sum_over_pixels() -> None:
    m = rng.random((2, 5, 4, 1)).astype(np.float32)
    total = 0.0
    for b in range(2):
        for i in range(5):
            for j in range(4):
                total += abs(m[b, i + 1, j, 0] - m[b, i, j, 0]) if i < 4 else 0
                total += abs(m[b, i, j + 1, 0] - m[b, i, j, 0]) if j < 3 else 0
    assert float(regularization.total_variation(m)) == pytest.approx(total / 2, rel=1e-5)
    assert float(regularization.attention_mean(m)) == pytest.approx(m.mean(), rel=1e-5)
