"""The clip's pinhole."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.camera import clip_camera
from talkjax.raster.camera import project


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (256, 256)])
def test_focal_goes_with_the_longer_side_and_the_center_is_the_middle(width, height):
    camera = clip_camera(width, height)
    assert float(camera.focal) == 1.09375 * max(width, height)
    np.testing.assert_array_equal(camera.center, [width / 2, height / 2])
    assert float(camera.distance) == 10.0


def test_projection_is_the_reference_pinhole():
    camera = clip_camera(1280, 720)
    point = np.array([0.3, -0.2, 3.0])
    expected = [640 + 1400 * 0.3 / 7.0, 360 + 1400 * 0.2 / 7.0]
    np.testing.assert_allclose(project(jnp.float32(point[None]), camera)[0], expected, atol=1e-3)
