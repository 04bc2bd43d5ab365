"""Eyes: the person's rate and shape of blinks, gaze that goes on when the head is still."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.infer import eye_motion

NAMES = ("jawOpen", "blink_R", "squint_R", "blink_L", "squint_L")
COLUMNS = np.array(["jaw" not in name for name in NAMES])
SHAPE = np.array([0.4, 1.0, 0.9, 0.5, 0.2])


def _person(
    seed: int, starts: np.ndarray, n: int = 500, follow: float = 0.6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expression, gaze and angles: eyes that counter the head's yaw, saccades, and blinks at `starts`."""
    rng = np.random.default_rng(seed)
    euler = 0.1 * np.sin(np.arange(n)[:, None] / np.array([17.0, 29.0, 41.0]) + rng.uniform(0, 6, 3))
    saccades = np.repeat(rng.normal(0, 0.03, (n // 12 + 1, 2)), 12, 0)[:n]
    gaze = np.stack([-follow * euler[:, 1], -0.2 * euler[:, 0]], 1) + saccades
    exp = np.zeros((n, len(NAMES)))
    exp[:, 0] = rng.uniform(0, 1, n)
    exp[:, 2] = exp[:, 4] = 0.2 + 0.5 * np.clip(saccades[:, 1], -0.1, 0.1)
    for start in starts:
        exp[start : start + 5, 1] += SHAPE
        exp[start : start + 5, 3] += 0.9 * SHAPE
        gaze[start : start + 5] += 0.1  # the iris is hidden: the landmarks say nothing
    return exp, gaze, euler


def _style(exp: np.ndarray, gaze: np.ndarray, euler: np.ndarray) -> eye_motion.EyeStyle:
    return eye_motion.fit_eye_style(exp, gaze, euler, np.ones(len(exp), bool), NAMES, COLUMNS)


@pytest.mark.parametrize("per_minute", [9, 24, 70])
def test_blinks_have_the_persons_rate_and_length(per_minute):
    gap = 1500 / per_minute
    starts = (np.arange(0.5, 500 / gap) * gap + np.random.default_rng(1).uniform(-0.2, 0.2) * gap).astype(int)
    starts = starts[starts < 490]
    style = _style(*_person(2, starts))
    wanted = len(starts) / 20 * 60
    for seed in range(3):
        lids, _ = eye_motion.eye_course(style, np.zeros((1500, 3)), seed)
        events = eye_motion.lid_events(lids[:, [0, 2]].mean(1))
        assert len(events) == pytest.approx(wanted, rel=0.25)
        lengths = np.array([b - a for a, b in events])
        assert lengths.mean() == pytest.approx((SHAPE * 0.95 > eye_motion.CLOSED).sum(), abs=0.7)
    assert lids.min() >= 0 and lids.max() <= eye_motion.HIGHEST


def test_a_clip_without_blinks_gives_usual_ones():
    style = _style(*_person(3, np.array([], int)))
    lids, _ = eye_motion.eye_course(style, np.zeros((1500, 3)), 0)
    assert 1 <= len(eye_motion.lid_events(lids[:, [0, 2]].mean(1))) <= 12  # rare, as in the clip
    assert lids[:, 0].max() > 0.8  # and yet they shut the eyes


def test_gaze_is_alive_with_a_still_head_and_follows_a_turning_one():
    exp, gaze, euler = _person(4, np.array([60, 200, 330]))
    style = _style(exp, gaze, euler)
    _, still = eye_motion.eye_course(style, np.zeros((1000, 3)), 5)
    clean = np.ones(len(gaze), bool)
    for start in (60, 200, 330):
        clean[start - 3 : start + 9] = False
    own = (gaze - euler @ np.linalg.lstsq(euler[clean], gaze[clean], rcond=None)[0])[clean]
    np.testing.assert_allclose(still.std(0), own.std(0), rtol=0.35)
    assert (np.abs(np.diff(still, axis=0)).max(1) > 0.01).sum() > 20  # saccades go on
    turning = np.zeros((1000, 3))
    turning[:, 1] = 0.1 * np.sin(np.arange(1000) / 29)
    _, moved = eye_motion.eye_course(style, turning, 5)
    slope = np.polyfit(turning[:, 1], moved[:, 0], 1)[0]
    assert slope == pytest.approx(-0.6, abs=0.25)


def test_seeds_differ_and_repeat():
    style = _style(*_person(5, np.arange(20, 480, 45)))
    head = np.zeros((400, 3))
    first, again, other = (eye_motion.eye_course(style, head, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert np.abs(first[1] - other[1]).max() > 0.01
    assert np.abs(np.corrcoef(first[0][:, 0], other[0][:, 0])[0, 1]) < 0.5


def test_a_long_closure_is_no_blink():
    lid = np.zeros(100)
    lid[10:14] = 1
    lid[40:60] = 1
    lid[70:73] = 0.35  # a squint
    assert eye_motion.lid_events(lid) == [(10, 14)]
