"""Errors of reconstructions against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.evaluate.reconstruction import expression_error, pose_error, shape_error


def test_shape_error_sees_shape_alone() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((200, 3))
    turn = Rotation.from_euler("xyz", [0.3, -0.8, 2.0]).as_matrix()
    assert shape_error(1.7 * truth @ turn.T + [1, 2, 3], truth, 0.9) < 1e-6
    assert shape_error(truth * [1, 1, -1], truth, 0.9) > 10  # a mirror image is another shape
    noisy = truth + 0.01 * rng.standard_normal(truth.shape)
    assert shape_error(noisy, truth, 2.0) == pytest.approx(100 * 0.01 * np.sqrt(3) / 2, rel=0.1)


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 0.5, 30.0, 179.0])
def test_pose_error_is_the_angle_of_the_rotation(degrees: float) -> None:
    base = Rotation.from_euler("xyz", [0.4, 0.1, -0.2])
    other = base * Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    assert pose_error(other.as_matrix(), base.as_matrix()) == pytest.approx(degrees, abs=1e-6, rel=1e-5)


def test_expression_error_counts_what_a_face_can_do() -> None:
    assert expression_error(np.array([[1.4, -0.2, 0.5]]), np.array([[1.0, 0.0, 0.2]])) == pytest.approx(0.1)
