"""Lip series, correlation, lag, control and LMD against numpy, least squares and planted movements."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.evaluate import speech
from talkjax.face import mesh468
from tests.evaluate import faces


def test_lip_series_are_the_drawn_ones_at_any_size() -> None:
    opening = np.array([0.0, 0.1, 0.25])
    for eye_distance in (40.0, 90.0):
        track = faces.speaking(opening, eye_distance=eye_distance, width=0.5)
        span = np.linalg.norm(track[0, 33, :2] - track[0, 263, :2])
        assert span == pytest.approx(eye_distance, rel=1e-4)
        np.testing.assert_allclose(speech.lip_opening(track), opening, atol=1e-5)
        np.testing.assert_allclose(speech.lip_width(track), 0.5, atol=1e-5)


def test_pearson_equals_corrcoef_and_skips_missing_frames() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 80))
    y += x
    assert speech.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    holes = x.copy()
    holes[[3, 40, 41]] = np.nan
    kept = np.isfinite(holes)
    assert speech.pearson(holes, y) == pytest.approx(np.corrcoef(x[kept], y[kept])[0, 1])
    assert np.isnan(speech.pearson(np.ones(80), y))
    assert np.isnan(speech.pearson(x[:2], y[:2]))


@pytest.mark.parametrize("late", [-8, -3, 0, 1, 5])
def test_best_lag_is_positive_when_the_video_is_late(late: int) -> None:
    long = faces.smooth_noise(240, seed=2)
    real, out = long[20:220], long[20 - late : 220 - late]  # out[t] = real[t - late]
    lag, r = speech.best_lag(real, out)
    assert lag == late
    assert r == pytest.approx(1.0)


def test_best_lag_without_data() -> None:
    lag, r = speech.best_lag(np.full(50, np.nan), np.ones(50))
    assert lag == 0 and np.isnan(r)


def test_amplitude_is_the_ratio_of_deviations() -> None:
    real = faces.smooth_noise(100, seed=3)
    assert speech.amplitude_ratio(real, 7 - 0.6 * real) == pytest.approx(0.6)
    assert np.isnan(speech.amplitude_ratio(np.ones(100), real))


def test_shift_control_equals_a_loop_and_is_what_chance_gives() -> None:
    real, out = faces.smooth_noise(200, seed=4), faces.smooth_noise(200, seed=5)
    values = []
    for shift in range(200):
        if 25 <= shift <= 175:
            moved = np.array([out[(t - shift) % 200] for t in range(200)])
            values.append(np.corrcoef(real, moved)[0, 1])
    assert len(values) == 151
    assert speech.shift_control(real, out) == pytest.approx(np.percentile(values, 99))
    assert speech.shift_control(real, real) < 0.5 < speech.pearson(real, real)
    assert np.isnan(speech.shift_control(real[:40], out[:40]))


def test_alignment_equals_least_squares() -> None:
    rng = np.random.default_rng(6)
    source = rng.normal(size=(1, 30, 2)) * 40
    target = source @ np.array([[0.9, -0.3], [0.3, 0.9]]) + 12 + rng.normal(size=source.shape)
    points = np.arange(0, 30, 2)
    # x' = a x - b y + c, y' = b x + a y + d as one linear system in (a, b, c, d)
    x, y = source[0].T
    one, zero = np.ones(30), np.zeros(30)
    rows = np.stack([np.stack([x, -y, one, zero], -1), np.stack([y, x, zero, one], -1)], axis=1)
    fit = np.linalg.lstsq(rows[points].reshape(-1, 4), target[0, points].reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(speech.align_similarity(source, target, points)[0], rows @ fit, atol=1e-9)


def test_lmd_ignores_head_position_and_measures_the_lips() -> None:
    real = faces.speaking(faces.smooth_noise(6, seed=7))
    turn = np.deg2rad(14)
    matrix = 1.3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = real.copy()
    moved[..., :2] = real[..., :2] @ matrix.T + (40, -25)
    np.testing.assert_allclose(speech.lip_landmark_distance(real, moved), 0, atol=1e-5)
    lower = real.copy()
    lower[:, mesh468.LIPS, 1] += 4.0  # no lip point is among the fitted ones
    np.testing.assert_allclose(speech.lip_landmark_distance(real, lower), 4.0 / 80.0, rtol=1e-4)


def test_lip_speed_is_relative_to_the_head() -> None:
    still = np.repeat(faces.face()[None], 20, axis=0).astype(np.float64)
    drift = still + np.arange(20)[:, None, None] * np.array([2.0, 1.0, 0.0], np.float32)
    assert speech.lip_speed(drift) == pytest.approx(0.0, abs=1e-5)
    moving: np.ndarray = drift.copy()
    moving[1::2, mesh468.LIPS, 1] += 4.0  # 4 px every frame, up or down, at 80 px between the eyes
    assert speech.lip_speed(moving) == pytest.approx(0.05, rel=1e-3)
