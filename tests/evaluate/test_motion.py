"""Steadiness, head motion, blinks and silence on motions whose figures are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from talkjax.data.synthetic_mesh import load_person
from talkjax.data.synthetic_motion import make_motion
from talkjax.data.synthetic_voice import fit_voice, load_voice
from talkjax.evaluate import motion
from talkjax.face import mesh468
from tests.evaluate import faces


def test_second_difference_of_a_parabola() -> None:
    track = np.repeat(faces.face(eye_distance=80.0)[None].astype(np.float64), 30, axis=0)
    t = np.arange(30.0)
    track[..., 0] += 3.0 * t[:, None]  # steady movement is no jitter
    assert motion.second_difference(track) == pytest.approx(0.0, abs=1e-6)
    track[..., 1] += 0.4 * t[:, None] ** 2  # second difference 0.8 px
    assert motion.second_difference(track) == pytest.approx(0.8 / 80, rel=1e-6)


def test_jitter_ratio_and_missing_frames() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.5, (400, 478, 2))
    base = np.repeat(faces.face(eye_distance=80.0)[None].astype(np.float64), 400, axis=0)
    real, out = base.copy(), base.copy()
    real[..., :2] += noise
    ridge = mesh468.NOSE_RIDGE
    out[:, ridge, :2] += 0.4 * noise[:, ridge]
    out[[50, 51, 200]] = np.nan
    assert motion.jitter_ratio(real, real) == 1.0
    assert motion.jitter_ratio(real, out) == pytest.approx(0.4, rel=0.03)
    assert np.isnan(motion.jitter_ratio(base, out))  # a frozen reference has no ratio


def test_histogram_similarity_known_values() -> None:
    rng = np.random.default_rng(1)
    pose = rng.uniform(-0.2, 0.2, (4000, 3))
    assert motion.histogram_similarity(pose, pose)[0] == pytest.approx(1.0)
    assert motion.histogram_similarity(pose, pose + 5)[0] == 0.0
    shifted = pose + np.array([0.2, 0.0, 0.4])  # half, full and no overlap of the uniform ranges
    mean, axes = motion.histogram_similarity(pose, shifted)
    np.testing.assert_allclose(axes, [0.5, 1.0, 0.0], atol=0.06)
    assert mean == pytest.approx(axes.mean())
    still = np.zeros((10, 3))
    assert motion.histogram_similarity(still, still)[0] == 1.0


def test_histogram_similarity_uses_twenty_bins_over_both() -> None:
    rng = np.random.default_rng(12)
    a, b = rng.normal(0, 1, (200, 3)), rng.normal(0.3, 1.4, (150, 3))
    expected = []
    for x, y in zip(a.T, b.T, strict=True):
        edges = np.linspace(min(x.min(), y.min()), max(x.max(), y.max()), 21)
        edges[-1] += 1e-9
        shared = 0.0
        for low, high in itertools.pairwise(edges):
            shared += min(np.mean((x >= low) & (x < high)), np.mean((y >= low) & (y < high)))
        expected.append(shared)
    np.testing.assert_allclose(motion.histogram_similarity(a, b)[1], expected, atol=0.008)


def test_std_ratios() -> None:
    pose = np.random.default_rng(2).normal(size=(300, 3))
    np.testing.assert_allclose(motion.std_ratios(pose * [0.5, 1, 2], pose), [0.5, 1, 2])
    assert np.isnan(motion.std_ratios(pose, np.zeros((300, 3)))).all()


def test_spectrum_distance_of_a_scaled_motion_is_its_level() -> None:
    pose = np.cumsum(np.random.default_rng(3).normal(0, 0.01, (500, 3)), axis=0)
    assert motion.spectrum_distance(pose, pose) == 0.0
    assert motion.spectrum_distance(pose, 2 * pose) == pytest.approx(20 * np.log10(2), abs=0.01)
    assert motion.spectrum_distance(pose, -pose) == pytest.approx(0.0, abs=1e-9)
    slow, fast = (0.1 * np.sin(2 * np.pi * f * np.arange(500) / 25)[:, None].repeat(3, 1) for f in (0.5, 3.0))
    assert motion.spectrum_distance(slow, fast) > 20
    assert np.isnan(motion.spectrum_distance(pose[:30], pose))


def test_copies_loops_and_jumps_are_found() -> None:
    rng = np.random.default_rng(8)
    kernel = np.hanning(25)[:, None]
    noise = rng.normal(0, 1, (1600, 6))
    smooth = np.stack([np.convolve(noise[:, k], kernel[:, 0], "valid") for k in range(6)], 1)[:1500]
    one, other = smooth[:, :3], smooth[:, 3:]
    assert motion.seed_correlation([one, other]) < 0.3
    mirrored = other.copy()
    mirrored[:, 1] = 2 - 0.1 * one[:, 1]
    assert motion.seed_correlation([one, other, mirrored]) == pytest.approx(1.0)
    assert motion.loop_peak(one) < 0.5
    assert motion.loop_peak(np.tile(one[:200], (8, 1))[:1500]) == pytest.approx(1.0, abs=0.03)
    assert motion.loop_peak(np.tile(one[:60], (8, 1)), shortest=4.0) == pytest.approx(1.0, abs=0.05)
    ramp = np.cumsum(np.full((300, 3), 0.01), axis=0)
    assert motion.jump_ratio(ramp, ramp) == pytest.approx(1.0)
    ramp[150:, 2] += 0.05
    assert motion.jump_ratio(ramp, ramp[:100]) == pytest.approx(6.0)
    np.testing.assert_allclose(motion.speed_ratios(one * [1, 2, 0.5], one), [1, 2, 0.5])
    turned = one @ np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]) / [1, np.sqrt(2), 1]
    assert motion.axis_correlation_distance(turned, one) == pytest.approx(np.sqrt(0.5), abs=0.15)


def _lids(opening: np.ndarray) -> np.ndarray:
    return np.stack([faces.face(lids=float(value)) for value in opening])


def test_looks_down_are_no_blinks_and_blinks_within_them_are() -> None:
    opening = np.full(300, 0.32)
    for at in (30, 90):  # shut for two frames, opening over two
        opening[at : at + 4] = (0.05, 0.04, 0.12, 0.2)
    opening[140:220] = 0.19  # the gaze falls, lids follow: 60 %
    opening[170:172] = 0.03  # a blink meanwhile
    opening[240:260] = 0.04  # eyes rest, 0.8 s
    opening[280:286] = 0.2  # a glance down, short but not shut
    found = motion.blinks(_lids(opening))
    assert [start for start, _ in found] == [30, 90, 170]
    assert motion.blink_rate(_lids(opening)) == pytest.approx(3 / 12 * 60)
    assert motion.blink_duration(_lids(opening)) == pytest.approx((4 + 4 + 2) / 3 / 25)
    assert np.isnan(motion.blink_duration(_lids(np.full(50, 0.3))))


def test_blinks_of_the_synthetic_person_are_found_where_they_are() -> None:
    """Lid points of the drawn head's own mesh, with its true blink times; no tracker in between."""
    spoken = fit_voice(load_voice("voice_train"), 40.0)
    truth = make_motion(load_person(), spoken.phones, 1000, 25.0, 3)
    wide = 0.31 * (1 - 0.97 * truth.blink) - 0.25 * np.clip(truth.gaze[:, 0], -0.3, 0.3)
    found = motion.blinks(_lids(np.clip(wide, 0.01, 0.5)))
    starts = np.array([start for start, _ in found]) / 25
    assert len(found) == len(truth.blink_times) > 5
    assert np.abs(starts - truth.blink_times).max() < 0.13  # they count from when the lids are down by 30 %


def test_pose_noise_closed_forms() -> None:
    t = np.linspace(0, 1, 60)[:, None]
    parabola = t**2 * [0.3, -0.1, 0.2] + t
    np.testing.assert_allclose(motion.pose_noise(parabola), 0, atol=1e-9)  # order 2 is followed exactly
    noise = np.random.default_rng(4).normal(0, np.deg2rad([0.3, 0.1, 0.2]), (20000, 3))
    # the middle weight of the 7-point, order-2 filter is 7/21, so 1 - 1/3 of the variance is left
    np.testing.assert_allclose(
        motion.pose_noise(noise), np.sqrt(2 / 3) * np.array([0.3, 0.1, 0.2]), rtol=0.02
    )


def test_blinks_are_counted_and_a_long_closure_is_none() -> None:
    lids = np.full(500, 0.3)
    for start, length in ((40, 4), (120, 3), (250, 6), (300, 40), (497, 3)):
        lids[start : start + length] = 0.03
    track = np.stack([faces.face(lids=float(value)) for value in lids])
    np.testing.assert_allclose(motion.eye_opening(track), lids, atol=1e-4)
    assert motion.blinks(track) == [(40, 44), (120, 123), (250, 256), (497, 500)]
    assert motion.blink_rate(track) == pytest.approx(4 * 60 / 20)
    assert motion.blinks(np.full((20, 478, 3), np.nan)) == []


def test_silence_ratio() -> None:
    opening = faces.smooth_noise(60, seed=8)
    speaking = faces.speaking(opening)
    quiet = faces.speaking(opening.mean() + 0.25 * (opening - opening.mean()))
    assert motion.silence_ratio(speaking, speaking) == pytest.approx(1.0)
    assert motion.silence_ratio(quiet, speaking) == pytest.approx(0.25, rel=0.01)
    still = np.repeat(speaking[:1], 60, axis=0)
    assert motion.silence_ratio(still, speaking) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(motion.silence_ratio(speaking, still))
