"""One pinhole: `project`, `to_clip` and the rasterizer's pixels agree."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import Topology, project, rasterize, to_clip
from talkjax.types import Camera
from tests.raster.meshes import padded

HEIGHT, WIDTH = 97, 150


def camera(focal=164.0, center=(75.0, 48.5), distance=10.0):
    return Camera(
        focal=jnp.float32(focal), center=jnp.asarray(center, jnp.float32), distance=jnp.float32(distance)
    )


def points(seed, *shape):
    return np.random.default_rng(seed).uniform(-2.0, 2.0, (*shape, 3)).astype(np.float32)


def test_project_is_the_stated_pinhole():
    p = points(0, 50).astype(np.float64)
    z = 10.0 - p[:, 2]
    expected = np.stack([70.0 + 164.0 * p[:, 0] / z, 50.0 - 164.0 * p[:, 1] / z], -1)
    np.testing.assert_allclose(project(jnp.asarray(p), camera(center=(70.0, 50.0))), expected, atol=1e-4)


@pytest.mark.parametrize("size,center", [((97, 150), (75.0, 48.5)), ((1080, 1920), (900.0, 600.0))])
def test_clip_space_gives_the_same_pixels(size, center):
    height, width = size
    cam = camera(focal=1.09375 * max(size), center=center)
    p = jnp.asarray(points(1, 2, 40))
    clip = np.asarray(to_clip(p, cam, height, width), np.float64)
    ndc = clip[..., :3] / clip[..., 3:]
    px = np.stack([(ndc[..., 0] + 1) * width / 2, (1 - ndc[..., 1]) * height / 2], -1)
    np.testing.assert_allclose(px, project(p, cam), atol=1e-3)
    np.testing.assert_allclose(clip[..., 3], 10.0 - p[..., 2], rtol=1e-6)


def test_depth_runs_from_near_to_far_and_nearer_is_smaller():
    p = jnp.array([[0.0, 0, 10 - 0.5], [0, 0, 10 - 50.0], [0, 0, 1.0], [0, 0, -1.0]])
    clip = to_clip(p, camera(), HEIGHT, WIDTH, near=0.5, far=50.0)
    z = np.asarray(clip[:, 2] / clip[:, 3])
    np.testing.assert_allclose(z[:2], [-1, 1], atol=1e-5)
    assert z[2] < z[3]


def test_rasterized_pixels_lie_where_project_says():
    # a small square around each of three points; the mean of its pixel centers is the projected point
    side = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 0.3
    for spot in ([0.0, 0.0, 0.0], [2.0, 1.2, 0.5], [-2.5, -1.5, -1.0]):
        corners = jnp.asarray(np.array(spot, np.float32) + side)
        clip, faces = padded(
            np.asarray(to_clip(corners, camera(), HEIGHT, WIDTH)), np.array([[0, 1, 2], [0, 2, 3]])
        )
        ids = np.asarray(
            rasterize(jnp.asarray(clip), Topology.from_faces(faces, len(clip)), HEIGHT, WIDTH).face_id
        )
        rows, columns = np.nonzero(ids >= 0)
        u, v = np.asarray(project(jnp.asarray([spot], jnp.float32), camera()))[0]
        assert abs(columns.mean() + 0.5 - u) < 0.51 and abs(rows.mean() + 0.5 - v) < 0.51
        assert len(rows) > 50


def test_a_vertex_behind_the_camera_leaves_what_lies_ahead():
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0], [0, 0, 12.0]])
    clip, faces = padded(
        np.asarray(to_clip(jnp.asarray(corners), camera(), HEIGHT, WIDTH)), np.array([[0, 1, 3], [0, 1, 2]])
    )
    seen = rasterize(jnp.asarray(clip), Topology.from_faces(faces, len(clip)), HEIGHT, WIDTH)
    weights = np.array([0.5, 0.4, 0.1])
    u, v = np.asarray(project(jnp.asarray(weights @ corners[[0, 1, 3]])[None], camera()))[0]
    row, column = int(v), int(u)
    assert seen.face_id[row, column] == 0
    shown = np.asarray(seen.bary[row, column]) @ corners[[0, 1, 3]]
    u, v = np.asarray(project(jnp.asarray(shown)[None], camera()))[0]
    np.testing.assert_allclose([u, v], [column + 0.5, row + 0.5], atol=1e-2)
    assert set(np.unique(seen.face_id)) == {-1, 0, 1}
