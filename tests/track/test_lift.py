"""Lifting a neutral from the network's depth: alignment, frame, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.track.lift import canonical_frame, lift_neutral, lip_gap, rigid_pose, similarity
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.moving_face import HEIGHT, WIDTH, MovingFace, moving_face


@pytest.fixture(scope="module")
def clip() -> MovingFace:
    return moving_face(drawn_neutral(), 60)


def test_similarity_recovers_a_known_transform_and_never_mirrors():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(4, 20, 3))
    matrix = Rotation.random(4, random_state=1).as_matrix()
    scale, offset = rng.uniform(0.5, 3, 4), rng.normal(size=(4, 3))
    target = scale[:, None, None] * source @ matrix.transpose(0, 2, 1) + offset[:, None]
    found_scale, found_matrix, found_offset = similarity(source, target)
    np.testing.assert_allclose(found_scale, scale, rtol=1e-10)
    np.testing.assert_allclose(found_matrix, matrix, atol=1e-10)
    np.testing.assert_allclose(found_offset, offset, atol=1e-10)
    _, mirrored, _ = similarity(source, source * [-1, 1, 1])
    np.testing.assert_allclose(np.linalg.det(mirrored), 1.0, atol=1e-10)


def test_canonical_frame_undoes_any_similarity():
    neutral = canonical_frame(drawn_neutral())
    turned = 3.7 * neutral @ Rotation.from_euler("xyz", [0.3, -0.5, 1.0]).as_matrix().T + [1, 2, 3]
    np.testing.assert_allclose(canonical_frame(turned), neutral, atol=1e-12)
    np.testing.assert_allclose(neutral[263] - neutral[33], [0.9, 0, 0], atol=1e-12)
    np.testing.assert_allclose(neutral[263] + neutral[33], 0, atol=1e-12)
    assert neutral[10, 1] > 0 > neutral[152, 1]
    assert neutral[4, 2] > 0


def test_lifted_neutral_is_the_resting_face(clip):
    lifted = lift_neutral(clip.landmarks, (WIDTH, HEIGHT))
    error = np.linalg.norm(lifted - canonical_frame(np.asarray(clip.model.mean, np.float64)), axis=1)
    assert np.median(error) < 0.03  # dm; the synthetic depth ignores perspective, as the network's does
    assert error[mesh468.LIPS].mean() < 0.05


def test_rigid_pose_is_near_the_truth(clip):
    pose = rigid_pose(clip.landmarks, np.asarray(clip.model.mean), clip.camera)
    assert np.abs(np.asarray(pose.euler - clip.pose.euler)).max() < np.deg2rad(5)
    assert np.abs(np.asarray(pose.translation - clip.pose.translation)[:, :2]).max() < 0.1
    assert np.abs(np.asarray(pose.translation - clip.pose.translation)[:, 2]).max() < 1.0


def test_lip_gap_is_a_share_of_the_eye_distance():
    points = np.zeros((478, 3))
    points[33], points[263] = (100, 50, 0), (200, 50, 7)
    points[13], points[14] = (150, 110, 0), (150, 120, 3)
    assert lip_gap(points) == pytest.approx(0.1)


def test_too_few_frames_with_a_face_are_refused(clip):
    with pytest.raises(InputError, match="only 24 frames show the whole face; expected at least 25") as error:
        lift_neutral(clip.landmarks, (WIDTH, HEIGHT), np.arange(60) < 24)
    assert error.value.code == "too_few_face_frames"
    outside = clip.landmarks.copy()
    outside[20:, :, 0] -= 450  # the face leaves the picture: those frames do not count
    with pytest.raises(InputError, match="only 20 frames"):
        lift_neutral(outside, (WIDTH, HEIGHT))
    broken = clip.landmarks.copy()
    broken[10:] = np.nan
    with pytest.raises(InputError, match="only 10 frames"):
        lift_neutral(broken, (WIDTH, HEIGHT))


def test_a_mouth_that_never_closes_is_refused(clip):
    landmarks = clip.landmarks.copy()
    landmarks[:, mesh468.LOWER_LIP, 1] += 12.0
    with pytest.raises(InputError, match="lips are closed in only 0 frames") as error:
        lift_neutral(landmarks, (WIDTH, HEIGHT))
    assert error.value.code == "no_closed_lips"
