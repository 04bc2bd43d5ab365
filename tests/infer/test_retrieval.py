"""Borrowing frames: distances and the dynamic programme, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from talkjax.face import mesh468
from talkjax.infer import retrieval
from talkjax.infer.layers import choose_frames
from talkjax.infer.retrieval import ZoneFeatures


def _path_cost(distance: np.ndarray, path: tuple[int, ...], jump_cost: float) -> float:
    moves = sum(0.0 if b - a in (0, 1) else jump_cost for a, b in itertools.pairwise(path))
    return float(sum(distance[k, j] for k, j in enumerate(path))) + moves


@pytest.mark.parametrize("jump_cost", [0.0, 0.2, 0.5, 3.0])
def test_smooth_choice_is_the_cheapest_of_all_paths(jump_cost):
    rng = np.random.default_rng(int(10 * jump_cost))
    for t, n in ((1, 3), (2, 1), (4, 3), (5, 4), (3, 6)):
        for _ in range(5):
            distance = rng.uniform(0, 1, (t, n))
            best = min(
                _path_cost(distance, path, jump_cost) for path in itertools.product(range(n), repeat=t)
            )
            path = retrieval.smooth_choice(distance, jump_cost=jump_cost)
            assert _path_cost(distance, tuple(path.tolist()), jump_cost) == pytest.approx(best)


def test_smooth_choice_plays_the_clip_on_through_noise():
    """The nearest frame hops about; the chosen ones follow the clip that the sequence really is."""
    rng = np.random.default_rng(0)
    bank = np.cumsum(rng.normal(0, 0.3, (60, 5)), 0).astype(np.float32)
    wanted = bank[20:50] + rng.normal(0, 0.3, (30, 5)).astype(np.float32)
    distance = retrieval.distances(wanted, bank)
    path = retrieval.smooth_choice(distance)
    hops = np.sum(~np.isin(np.diff(path), (0, 1)))
    assert hops < np.sum(~np.isin(np.diff(distance.argmin(1)), (0, 1))) / 3


def test_distances_are_euclidean_and_the_own_neighbourhood_is_out_of_reach():
    rng = np.random.default_rng(1)
    bank = rng.normal(size=(40, 7)).astype(np.float32)
    np.testing.assert_allclose(retrieval.distances(bank[:5], bank), cdist(bank[:5], bank), atol=2e-3)
    own = np.array([0, 17, 39])
    out = retrieval.distances(bank[own], bank, own_index=own, exclude=4)
    for row, k in zip(out, own, strict=True):
        near = np.abs(np.arange(40) - k) <= 4
        assert np.all(row[near] == retrieval.FAR) and np.all(row[~near] < 100)


def test_a_training_frame_borrows_nothing_from_its_neighbours():
    rng = np.random.default_rng(2)
    slow = [np.cumsum(rng.normal(size=(60, d)), 0).astype(np.float32) for d in (6, 5, 4)]
    features, own = ZoneFeatures(*slow), np.arange(60)
    free = choose_frames(features, features)
    assert all(np.array_equal(zone, own) for zone in free)  # without the rule: itself
    kept_off = choose_frames(features, features, own)
    for one in kept_off:
        assert np.abs(one - own).min() > 10


def _eyes(iris: float) -> np.ndarray:
    """[1 478 3] landmarks whose irises stand at `iris` (-0.5 .. 0.5) along the eyes, 0.1 below."""
    landmarks = np.zeros((1, 478, 3))
    for centre, left, right, x in (
        (mesh468.RIGHT_IRIS[0], 33, 133, 100),
        (mesh468.LEFT_IRIS[0], 362, 263, 200),
    ):
        landmarks[0, left, :2], landmarks[0, right, :2] = (x, 50), (x + 40, 50)
        landmarks[0, centre, :2] = (x + 20 + 40 * iris, 50 + 4)
    return landmarks


def test_gaze_is_measured_in_eye_widths_whatever_size_and_roll():
    for iris in (-0.2, 0.0, 0.3):
        landmarks = _eyes(iris)
        np.testing.assert_allclose(retrieval.gaze_of(landmarks), [[iris, 0.1]], atol=1e-6)
        c, s = np.cos(0.7), np.sin(0.7)
        turned = landmarks.copy()
        turned[..., :2] = 1.7 * landmarks[..., :2] @ np.array([[c, s], [-s, c]]) + [30, -12]
        np.testing.assert_allclose(retrieval.gaze_of(turned), [[iris, 0.1]], atol=1e-6)


def test_lip_shape_does_not_see_head_shifts_and_one_unit_is_its_scale():
    rng = np.random.default_rng(3)
    verts = rng.normal(size=(2, 468, 3))
    verts[1] = verts[0]
    verts[1, mesh468.LIPS] += 0.012  # the lips' scale, on every axis
    zeros, gaze = np.zeros((2, 3)), np.zeros((2, 2))
    still = retrieval.zone_features(verts, zeros, zeros, gaze)
    moved = retrieval.zone_features(verts, zeros, zeros + 5.0, gaze)
    np.testing.assert_array_equal(still.mouth, moved.mouth)
    assert np.linalg.norm(np.diff(still.mouth, axis=0)) == pytest.approx(np.sqrt(3), rel=1e-3)
    assert not np.array_equal(still.skin, moved.skin)
