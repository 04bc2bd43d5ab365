"""Pose sources: frames replayed or matched, another head's motion, a track of any length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkjax.infer import pose_sources


def _smooth(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kernel = np.hanning(13)[1:-1] / 5
    return np.stack([np.convolve(rng.normal(0, 0.1, n + 10), kernel, "valid")[:n] for _ in range(3)], 1)


def test_ping_pong_turns_without_repeating_the_ends():
    assert pose_sources.ping_pong(10, 4).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert pose_sources.ping_pong(4, 4, start=3).tolist() == [3, 2, 1, 0]
    assert pose_sources.ping_pong(3, 1).tolist() == [0, 0, 0]
    assert pose_sources.ping_pong(5, 2, start=1).tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("start", [0, 37, 120])
def test_the_clips_own_motion_is_matched_by_itself(start):
    clip = _smooth(200, seed=1)
    path = pose_sources.match_frames(clip[start : start + 80], clip)
    np.testing.assert_array_equal(path, np.arange(start, start + 80))


@settings(max_examples=60, deadline=None)
@given(
    t=st.integers(1, 150), n=st.integers(1, 90), seed=st.integers(0, 99), speed=st.sampled_from([0.5, 1.0])
)
def test_any_motion_gives_frames_of_the_clip_in_small_steps(t, n, seed, speed):
    clip, wanted = _smooth(n, seed), 2 * _smooth(t, seed + 100)
    path = pose_sources.match_frames(wanted, clip, speed=speed)
    assert len(path) == t and path.min() >= 0 and path.max() < n
    assert np.abs(np.diff(path)).max(initial=0) <= 1  # the clip is played, never cut
    assert path[0] == np.abs(clip - wanted[0]).sum(1).argmin()


def test_a_still_head_is_matched_too():
    assert np.ptp(pose_sources.match_frames(np.zeros((40, 3)), _smooth(50, seed=5))) < 40
