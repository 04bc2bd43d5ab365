"""Euler order and signs against scipy, round trips, inverse poses, gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.face.pose import apply_pose, euler_from_rotation, invert_pose, rotation
from talkjax.types import Pose


def _random_euler(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-3.0, -1.4, -3.0], [3.0, 1.4, 3.0], (n, 3))


def test_rotation_is_fixed_axis_x_then_y_then_z():
    euler = _random_euler(50)
    expected = Rotation.from_euler("xyz", euler).as_matrix()  # lower case: fixed axes
    np.testing.assert_allclose(rotation(jnp.float32(euler)), expected, atol=2e-6)


def test_euler_round_trip_in_any_batch_shape():
    euler = _random_euler(24).reshape(2, 3, 4, 3)
    back = euler_from_rotation(rotation(jnp.float32(euler)))
    np.testing.assert_allclose(back, euler, atol=5e-6)


@pytest.mark.parametrize(
    ("euler", "point", "moves"),
    [
        ((0.1, 0, 0), (0, 0, 1), (0, -1)),  # pitch: the nose goes down
        ((0, 0.1, 0), (0, 0, 1), (1, 0)),  # yaw: the nose goes to image right
        ((0, 0, 0.1), (0, 1, 0), (-1, 0)),  # roll: the forehead goes to image left
    ],
)
def test_signs_of_the_angles(euler, point, moves):
    pose = Pose(euler=jnp.array(euler), translation=jnp.zeros(3))
    shift = np.asarray(apply_pose(jnp.array([point], jnp.float32), pose))[0] - point
    np.testing.assert_allclose(shift[:2], 0.1 * np.array(moves), atol=6e-3)


def test_apply_pose_broadcasts_one_mesh_over_frames_and_inverts():
    rng = np.random.default_rng(1)
    verts = jnp.float32(rng.normal(size=(7, 3)))
    pose = Pose(euler=jnp.float32(_random_euler(5)), translation=jnp.float32(rng.normal(size=(5, 3))))
    moved = apply_pose(verts, pose)
    assert moved.shape == (5, 7, 3)
    by_hand = np.asarray(verts) @ np.asarray(rotation(pose.euler[2])).T + np.asarray(pose.translation[2])
    np.testing.assert_allclose(moved[2], by_hand, atol=2e-6)
    np.testing.assert_allclose(
        apply_pose(moved, invert_pose(pose)), np.broadcast_to(verts, (5, 7, 3)), atol=3e-6
    )


def test_gradients_are_finite_at_rest_and_match_differences():
    def nose_height(euler):
        return apply_pose(jnp.array([[0.1, 0.2, 0.5]]), Pose(euler=euler, translation=jnp.zeros(3)))[0, 1]

    gradient = jax.grad(nose_height)(jnp.zeros(3))
    np.testing.assert_allclose(gradient, [-0.5, 0.0, 0.1], atol=1e-6)
    back = jax.grad(lambda e: euler_from_rotation(rotation(e)).sum())(jnp.zeros(3))
    np.testing.assert_allclose(back, np.ones(3), atol=1e-6)
