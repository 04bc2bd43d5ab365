"""Offsets that were put in come out again."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from talkjax.data.landmark_offsets import Seen, measure_offsets
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.types import Camera, Pose


def test_offsets_in_the_heads_frame_are_found() -> None:
    rng = np.random.default_rng(0)
    camera = Camera(jnp.float32(1400), jnp.array([320.0, 320.0]), jnp.float32(10.0))
    places, offsets = rng.uniform(-0.4, 0.4, (300, 3)), 0.03 * rng.standard_normal((300, 3))
    n = 40
    pose = Pose(jnp.asarray(0.3 * rng.standard_normal((n, 3))), jnp.tile(jnp.array([0.0, 0.0, 3.0]), (n, 1)))
    truth, marks = (
        np.asarray(project(apply_pose(jnp.asarray(x), pose), camera)) for x in (places, places + offsets)
    )
    seen = [Seen(marks[k], truth[k], Pose(pose.euler[k], pose.translation[k]), camera) for k in range(n)]
    found, before, after = measure_offsets(seen)
    assert np.corrcoef(found[:, :2].ravel(), offsets[:, :2].ravel())[0, 1] > 0.99
    assert after < 0.25 * before
