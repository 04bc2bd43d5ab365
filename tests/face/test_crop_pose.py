"""One head before two cameras: the same pixels, the same turn toward the viewer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from talkjax.face.crop_pose import CROP_FOCAL, network_camera, repose
from talkjax.face.pose import apply_pose, rotation
from talkjax.raster.camera import project
from talkjax.types import Camera, Pose

seen_by = jax.jit(repose)
POINT = jnp.array([0.1, -0.2, 0.3])


def _camera(focal: float, center: tuple[float, float]) -> Camera:
    return Camera(jnp.float32(focal), jnp.array(center), jnp.float32(10.0))


def test_a_small_head_looks_the_same_to_both_cameras() -> None:
    rng = np.random.default_rng(0)
    head = jnp.asarray(
        POINT + 0.01 * rng.standard_normal((40, 3)), jnp.float32
    )  # small: no perspective in it
    pose = Pose(jnp.array([0.2, -0.3, 0.1]), jnp.array([0.4, 0.2, 3.0]))
    camera = _camera(1400.0, (640.0, 360.0))
    other = network_camera(jnp.array([700.0, 330.0]), jnp.float32(440.0))
    moved = seen_by(pose, POINT, camera, other)
    seen, again = (project(apply_pose(head, p), c) for p, c in ((pose, camera), (moved, other)))
    size = np.ptp(np.asarray(seen), axis=0).max()
    np.testing.assert_allclose(again, seen, atol=0.01 * size)
    back = seen_by(moved, POINT, other, camera)
    np.testing.assert_allclose(back.euler, pose.euler, atol=1e-4)
    np.testing.assert_allclose(back.translation, pose.translation, atol=1e-3)


def test_a_head_beside_the_axis_is_seen_from_its_side() -> None:
    """Straight ahead but off the axis, it seems turned away by the ray's angle."""
    pose = Pose(jnp.zeros(3), jnp.array([2.0, 0.0, 0.0]))
    camera = _camera(1000.0, (0.0, 0.0))
    px = project(apply_pose(POINT[None] * 0, pose), camera)[0]
    moved = seen_by(pose, jnp.zeros(3), camera, network_camera(px, jnp.float32(200.0)))
    turned = Rotation.from_matrix(np.asarray(rotation(moved.euler))).as_rotvec()
    np.testing.assert_allclose(turned, [0.0, np.arctan2(2.0, 10.0), 0.0], atol=1e-4)
    np.testing.assert_allclose(moved.translation, [0, 0, 10 - CROP_FOCAL * 200 * 10 / 1000], atol=1e-3)


def test_its_gradient_is_finite_on_the_axis() -> None:
    camera, other = _camera(1000.0, (50.0, 50.0)), network_camera(jnp.array([50.0, 50.0]), jnp.float32(100.0))

    def depth(translation: jax.Array) -> jax.Array:
        moved = seen_by(Pose(jnp.zeros(3), translation), jnp.zeros(3), camera, other)
        return jnp.sum(moved.translation) + jnp.sum(moved.euler)

    assert np.isfinite(jax.jit(jax.grad(depth))(jnp.zeros(3))).all()
