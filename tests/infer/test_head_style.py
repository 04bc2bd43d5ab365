"""A person's distribution of head motion: into normal series and back, keys, and edits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from talkjax.errors import InputError
from talkjax.infer import head_style, motion_baseline, pose_edits
from talkjax.infer.pose_sources import retarget


def _smooth(n: int, seed: int, columns: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kernel = np.hanning(31)[1:-1]
    kernel /= np.linalg.norm(kernel)
    noise = rng.normal(size=(n + 28, columns))
    return np.stack([np.convolve(noise[:, k], kernel, "valid") for k in range(columns)], 1)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Skewed angles, and a translation that turns about a neck plus a little of its own."""
    series = _smooth(600, seed=1)
    euler = np.stack([0.05 * series[:, 0], 0.04 * np.exp(0.5 * series[:, 1]), 0.03 * series[:, 2]], 1)
    neck = np.stack([0.5 * np.sin(euler[:, 2]), -0.8 * np.sin(euler[:, 0]), 0 * euler[:, 0] + 3], 1)
    return euler, neck + 0.02 * series[:, 3:]


@pytest.fixture(scope="module")
def fitted(clip) -> tuple[head_style.HeadStyle, np.ndarray]:
    return head_style.fit_head_style(*clip, np.ones(len(clip[0]), bool))


def test_series_become_normal_and_come_back(clip, fitted):
    style, normal = fitted
    assert np.abs(stats.skew(normal, axis=0)).max() < 0.25 and abs(stats.skew(clip[0][:, 1])) > 0.8
    np.testing.assert_allclose(normal.std(0), 1, atol=0.08)
    back = head_style.from_normal(style, normal)
    away = np.abs(back[:, :3] - clip[0]) / clip[0].std(0)
    assert np.percentile(away, 95) < 0.05  # only the rarest values move, into the smoothed tails
    followed = style.followed(clip[0])
    assert np.corrcoef(followed[:, 1], clip[1][:, 1])[0, 1] > 0.8


def test_keys_of_a_motion_play_it_again(clip, fitted):
    style, normal = fitted
    keys = np.concatenate([normal[:1], normal[:: head_style.KEY_STRIDE]])  # one before frame 0
    n = 590
    euler, translation = head_style.play_keys(style, keys[: head_style.key_count(n)], n)
    assert np.abs(euler - clip[0][:n]).max() < 0.3 * clip[0].std(0).max()
    assert np.median(np.abs(translation - clip[1][:n])) < 0.004


def test_no_change_passes_the_limit_and_slow_motion_is_untouched():
    slow = np.cumsum(np.full((50, 2), 0.01), 0)
    np.testing.assert_array_equal(head_style.limit_speed(slow, np.array([0.02, 0.02])), slow)
    jumpy = slow.copy()
    jumpy[25:, 0] += 0.5
    limited = head_style.limit_speed(jumpy, np.array([0.05, 0.05]))
    assert np.abs(np.diff(limited, axis=0)).max() <= 0.05 + 1e-12
    middle = np.searchsorted(limited[:, 0], (jumpy[24, 0] + jumpy[25, 0]) / 2)
    assert abs(middle - 25) <= 1  # neither late nor early


def test_autoregression_has_the_spread_and_correlation_it_was_fitted_to(fitted):
    _, normal = fitted
    coupled = normal.copy()
    coupled[:, 1] = 0.8 * normal[:, 0] + 0.6 * normal[:, 1]
    model = motion_baseline.fit_autoregression(coupled)
    out = motion_baseline.simulate(model, 6000, np.random.default_rng(3))
    np.testing.assert_allclose(out.std(0), 1, atol=0.15)
    assert np.corrcoef(out[:, 0], out[:, 1])[0, 1] == pytest.approx(
        np.corrcoef(coupled[:, 0], coupled[:, 1])[0, 1], abs=0.2
    )
    lag = [np.corrcoef(x[:-3, 0], x[3:, 0])[0, 1] for x in (out, coupled[::3])]
    assert lag[0] == pytest.approx(lag[1], abs=0.15)


# ------------------------------------------------------------------------------ edits


def test_gain_scales_one_axis_about_the_mean_and_the_neck_follows(clip, fitted):
    style, _ = fitted
    euler, translation = clip
    assert pose_edits.amplify(style, euler, translation, pose_edits.Gains())[0] is euler
    still, moved = pose_edits.amplify(style, euler, translation, pose_edits.Gains(0, 1, 2, 0))
    np.testing.assert_allclose(still[:, 0], style.mean_euler[0])
    np.testing.assert_array_equal(still[:, 1], euler[:, 1])
    np.testing.assert_allclose(still[:, 2] - style.mean_euler[2], 2 * (euler[:, 2] - style.mean_euler[2]))
    free = moved - style.followed(still)
    np.testing.assert_allclose(free, np.broadcast_to(free[0], free.shape), atol=1e-9)
    assert moved[:, 1].std() < 0.15 * translation[:, 1].std()  # no nod, no bob


def test_clamp_keeps_the_limit_and_small_motion(clip, fitted):
    style, _ = fitted
    degrees = 3.0
    bent, _ = pose_edits.clamp(style, *clip, degrees)
    away = np.rad2deg(np.abs(bent - style.mean_euler))
    was = np.rad2deg(np.abs(clip[0] - style.mean_euler))
    assert was.max() > 5 and away.max() <= degrees
    np.testing.assert_allclose(away[was < 0.7 * degrees], was[was < 0.7 * degrees])
    assert np.all(away <= was + 1e-9)


@pytest.mark.parametrize("text", ["2", "a-b", "3-1", "-", "1-3,2-4", "1-2;3-4", "nan-2"])
def test_spans_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--freeze="):
        pose_edits.parse_freeze(text)


def test_frozen_time_stands_still_in_the_span_and_goes_on_where_it_stopped():
    assert pose_edits.parse_freeze("") == [] and pose_edits.parse_freeze("all") == [(0, np.inf)]
    assert pose_edits.parse_freeze("8-, 2-4.5") == [(2, 4.5), (8, np.inf)]
    times = pose_edits.frozen_time(300, pose_edits.parse_freeze("2-4,8-"))
    steps = np.diff(times)
    assert np.all(steps[50:100] == 0) and np.all(steps[200:] == 0)
    np.testing.assert_allclose(steps[:39], 1) and np.testing.assert_allclose(steps[111:189], 1)
    assert np.abs(np.diff(steps)).max() < 0.11  # it comes to rest, it does not stop dead
    np.testing.assert_array_equal(pose_edits.frozen_time(50, []), np.arange(50))
    assert pose_edits.frozen_time(50, [(0.0, np.inf)]).max() == 0
    values = np.arange(10.0)[:, None]
    np.testing.assert_allclose(pose_edits.at_times(values, np.array([0, 1.25, 9.0]))[:, 0], [0, 1.25, 9])


def test_another_heads_motion_is_taken_relative_to_its_mean_and_bounded(clip, fitted):
    style, _ = fitted
    other = _smooth(200, seed=9)
    euler = 0.01 * other[:, :3] + [0.4, -0.3, 0.1]  # looks elsewhere
    angles, shift = retarget(style, euler, 0.001 * other[:, 3:] + [5, 5, 0], 500)
    assert len(angles) == len(shift) == 500
    middle = style.quantiles.mean(1)
    np.testing.assert_allclose(angles.mean(0), middle[:3], atol=0.004)
    assert np.corrcoef(angles[:200, 1], euler[:, 1])[0, 1] > 0.99
    np.testing.assert_allclose(angles[199:398], angles[199::-1][:199])  # forth and back
    wild, _ = retarget(style, 10 * euler, np.zeros((200, 3)), 200)
    reach = np.maximum(style.quantiles[:3, -1] - middle[:3], middle[:3] - style.quantiles[:3, 0])
    assert np.all(np.abs(wild - middle[:3]) <= 1.5 * reach + 1e-9)
