"""Which frame lends the surroundings: the nearest head, in order, with few and gentle cuts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from talkjax.infer import backgrounds


def _heads(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(n)[:, None]
    euler = 0.15 * np.sin(t / np.array([23.0, 31.0, 47.0]) + seed)
    return euler, 0.1 * np.sin(t / np.array([19.0, 37.0, 53.0]))


def test_the_clips_own_motion_finds_its_own_frames():
    euler, shift = _heads(200)
    distance = backgrounds.head_distance(euler[40:120], shift[40:120], euler, shift)
    np.testing.assert_allclose(distance[0, 40], 0, atol=1e-6)
    chosen = backgrounds.choose_backgrounds(distance)
    assert np.abs(chosen.source - np.arange(40, 120)).max() <= 2
    assert not chosen.share.any()


def test_cuts_are_few_and_go_where_bodies_are_alike():
    euler = np.zeros((90, 3))
    euler[30:60, 1], euler[60:, 1] = 0.3, 0.3  # two stretches show the same turned head
    wanted = np.r_[np.zeros((40, 3)), np.tile([0, 0.3, 0], (40, 1))]
    body = np.full((90, 90), 5.0)
    body[:30, 60:] = body[60:, :30] = 0.5  # but only the last one the same shoulders
    np.fill_diagonal(body, 0)
    distance = backgrounds.head_distance(wanted, np.zeros((80, 3)), euler, np.zeros((90, 3)))
    # no way from one to the other but by a cut
    distance[:, 25:30] += 9
    distance[:, 57:60] += 9
    chosen = backgrounds.choose_backgrounds(distance, body)
    cuts = np.flatnonzero(np.abs(np.diff(chosen.source)) > 3)
    assert len(cuts) == 1 and abs(cuts[0] - 39) <= 3
    assert np.all(chosen.source[cuts[0] + 1 :] >= 60)


def test_blends_meet_half_way_across_a_cut():
    path = np.r_[np.arange(10), np.arange(50, 60)]
    chosen = backgrounds.with_blends(path)
    assert chosen.other[9] == 50 and chosen.other[10] == 9
    assert 0.35 < chosen.share[9] < 0.5 and chosen.share[9] == chosen.share[10]
    assert np.all(np.diff(chosen.share[:10]) >= 0) and chosen.share[0] == 0
    assert np.all(chosen.share <= 0.5)


def test_cheapest_path_against_all_paths():
    rng = np.random.default_rng(0)
    cost, move = rng.uniform(0, 1, (5, 4)), rng.uniform(0, 1, (4, 4))

    def total(path: tuple[int, ...]) -> float:
        return sum(cost[k, p] for k, p in enumerate(path)) + sum(move[a, b] for a, b in pairwise(path))

    best = min(np.ndindex(4, 4, 4, 4, 4), key=total)
    assert tuple(backgrounds._cheapest_path(cost, move)) == best


def test_body_distance_is_the_difference_outside_both_faces():
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 255, (3, 216, 384, 3), np.uint8)
    frames[1] = frames[0]
    frames[1, 80:120, 100:200] = 0  # inside the first two faces
    boxes = np.array([[90.0, 70, 210, 130], [90, 70, 210, 130], [0, 0, 40, 40]])
    pictures, outside = backgrounds.thumbnails(lambda k: frames[k], boxes)
    distance = backgrounds.body_distance(pictures, outside)
    assert distance[0, 1] == pytest.approx(0, abs=0.5) and distance[1, 0] == distance[0, 1]
    both = outside[0] & outside[2]
    expected = np.abs(pictures[0].astype(int) - pictures[2])[both].mean()
    assert distance[0, 2] == pytest.approx(expected, rel=1e-4)
