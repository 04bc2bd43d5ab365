"""The temporal fit recovers a drawn person's motion, bridges gaps, and takes short stretches."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.track import temporal
from talkjax.track.temporal import FaceTrack, fit_track, landmark_error, project_track
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.moving_face import MovingFace, moving_face

N = 90
VALID = ~((np.arange(N) >= 40) & (np.arange(N) < 46))


@pytest.fixture(scope="module")
def clip() -> MovingFace:
    clip = moving_face(drawn_neutral(), N, noise_px=0.3)
    clip.landmarks[~VALID] = np.nan
    return clip


@pytest.fixture(scope="module")
def track(clip) -> FaceTrack:
    return fit_track(clip.model, clip.landmarks, VALID, clip.camera)


def test_recovers_pose_and_expression(clip, track):
    degrees = np.rad2deg(np.asarray(track.pose.euler - clip.pose.euler))[VALID]
    assert np.sqrt((degrees**2).mean(0)).max() < 0.5
    shift = np.asarray(track.pose.translation - clip.pose.translation)[VALID]
    assert np.abs(shift[:, :2]).max() < 0.02
    assert np.abs(shift[:, 2]).max() < 0.1
    # axes overlap (a lip can be lowered in several ways), so the shapes are compared, in dm
    away = (np.asarray(track.exp_coeffs) - clip.exp_coeffs)[VALID]
    moved = np.linalg.norm(np.einsum("te,evc->tvc", away, np.asarray(clip.model.exp_basis)), axis=-1)
    assert moved.mean() < 0.01
    error = landmark_error(clip.model, track, clip.landmarks, clip.camera)[VALID]
    assert error.mean() < 0.6  # % of the eye distance; noise alone gives 0.42


def test_is_smoother_than_the_noise_and_keeps_the_blinks(clip, track):
    alone = fit_track(clip.model, clip.landmarks[:3], VALID[:3], clip.camera)
    assert alone.exp_coeffs.shape == (3, 43)
    truth, found = np.asarray(clip.pose.euler)[:40], np.asarray(track.pose.euler)[:40]
    assert np.diff(found, 2, axis=0).std() < 1.2 * np.diff(truth, 2, axis=0).std()
    blink = np.asarray(track.exp_coeffs)[:, clip.model.exp_names.index("blink_R")]
    assert blink[21] > 0.8 > 0.2 > blink[10]


def test_gap_is_bridged_between_its_neighbours(clip, track):
    assert not np.asarray(track.valid)[40:46].any()
    for series in (track.pose.euler, track.pose.translation, track.exp_coeffs):
        assert np.isfinite(np.asarray(series)).all()
    degrees = np.rad2deg(np.asarray(track.pose.euler))
    assert np.abs(np.diff(degrees, 2, axis=0))[39:46].max() < 1.0
    low, high = degrees[[38, 39, 46, 47]].min(0) - 3, degrees[[38, 39, 46, 47]].max(0) + 3
    assert ((degrees[40:46] > low) & (degrees[40:46] < high)).all()


def test_a_head_that_is_lost_comes_to_rest(clip):
    valid = np.arange(N) < 25
    track = fit_track(clip.model, clip.landmarks, valid, clip.camera)
    degrees = np.rad2deg(np.asarray(track.pose.euler))
    assert np.abs(np.diff(degrees[60:], axis=0)).max() < 0.01
    assert np.abs(degrees[60:] - degrees[24]).max() < 10.0  # a few frames of its last speed


def test_windows_of_a_long_clip_join_without_a_seam(clip, track, monkeypatch):
    monkeypatch.setattr(temporal, "_WINDOW", 30)
    monkeypatch.setattr(temporal, "_OVERLAP", 25)
    windowed = fit_track(clip.model, clip.landmarks, VALID, clip.camera)
    away = np.asarray(windowed.pose.euler - track.pose.euler)
    assert np.rad2deg(np.abs(away)).max() < 0.05
    assert np.abs(np.asarray(windowed.exp_coeffs - track.exp_coeffs)).max() < 0.1


def test_a_given_start_leads_to_the_same_fit(clip, track):
    again = fit_track(
        clip.model, clip.landmarks, VALID, clip.camera, (track.pose, np.asarray(track.exp_coeffs))
    )
    assert np.rad2deg(np.abs(np.asarray(again.pose.euler - track.pose.euler))).max() < 0.1


def test_band_storage_is_the_dense_matrix():
    rng = np.random.default_rng(0)
    t, m = 5, 3
    blocks = rng.normal(size=(t, m, m))
    blocks = blocks + blocks.transpose(0, 2, 1)
    weight = rng.uniform(1, 2, m)
    blind = np.array([False, False, True, False, False])
    second, first = np.zeros((t - 2, t)), np.zeros((t - 1, t))
    for i in range(t - 2):
        second[i, i : i + 3] = 1, -2, 1
    for i in range(t - 1):
        if blind[i] or blind[i + 1]:
            first[i, i : i + 2] = -0.2, 0.2  # 1 / 5 frames
    prior = second.T @ second + first.T @ first
    dense = np.kron(prior, np.diag(weight))
    for i in range(t):
        dense[i * m : (i + 1) * m, i * m : (i + 1) * m] += blocks[i]
    diagonals = temporal._stiffness(blind)
    band = temporal._banded(blocks, diagonals, weight)
    for below in range(2 * m + 1):
        np.testing.assert_allclose(band[below, : t * m - below], np.diagonal(dense, -below), atol=1e-12)
    theta = rng.normal(size=(t, m))
    np.testing.assert_allclose(temporal._times_stiffness(diagonals, theta), prior @ theta, atol=1e-12)


def test_landmark_error_of_a_known_shift(clip):
    truth = FaceTrack(clip.pose, clip.exp_coeffs, np.ones(N, bool))
    landmarks = np.zeros((N, 478, 3))
    landmarks[:, :468, :2] = project_track(clip.model, truth, clip.camera)
    assert landmark_error(clip.model, truth, landmarks, clip.camera).max() < 1e-2
    landmarks[:, :, 0] += 3.0
    distance = np.linalg.norm(landmarks[:, 33, :2] - landmarks[:, 263, :2], axis=1)
    error = landmark_error(clip.model, truth, landmarks, clip.camera)
    np.testing.assert_allclose(error, np.broadcast_to(300 / distance[:, None], error.shape), rtol=1e-2)


def test_too_few_valid_frames_are_refused(clip):
    with pytest.raises(InputError, match="only 2 of 90 frames have a face"):
        fit_track(clip.model, clip.landmarks, np.arange(N) < 2, clip.camera)
