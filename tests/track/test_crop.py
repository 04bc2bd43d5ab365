"""The head square: where it lies, what is cut from it, and what comes back when it is pasted."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.camera import clip_camera
from talkjax.raster.camera import project
from talkjax.track import crop
from talkjax.types import Pose

WIDTH, HEIGHT = 320, 240


def _ramps() -> np.ndarray:
    """Red is the pixel centre's x, green its y, blue their difference around 128: exact to sample."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([x * 0.75, y, 128 + (x - y) / 4], -1).round().astype(np.uint8)


def _poses(t: int = 5) -> Pose:
    rng = np.random.default_rng(3)
    translation = np.array([0.2, -0.1, 2.0]) + rng.normal(0, 0.3, (t, 3))
    return Pose(jnp.asarray(rng.normal(0, 0.3, (t, 3))), jnp.asarray(translation))


def test_square_is_the_heads_middle_at_its_depth():
    camera, pose = clip_camera(WIDTH, HEIGHT), _poses()
    track = crop.crop_track(pose, camera)
    for k in range(5):
        (pitch, yaw, roll), shift = np.asarray(pose.euler[k], np.float64), np.asarray(pose.translation[k])
        c, s = np.cos, np.sin
        rx = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
        ry = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
        rz = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
        x, y, z = rz @ ry @ rx @ np.array(crop.HEAD_CENTER) + shift
        scale = float(camera.focal) / (float(camera.distance) - z)
        middle = np.asarray(camera.center) + scale * np.array([x, -y])
        np.testing.assert_allclose(track.center[k], middle, atol=2e-3)
        assert track.side[k] == pytest.approx(crop.SIDE_DM * scale, rel=1e-5)


def test_crop_camera_and_cut_agree_on_every_point():
    """A point projected by the crop's camera lies on the pixel that `cut` took from there."""
    camera, size = clip_camera(WIDTH, HEIGHT), 96
    track = crop.CropTrack(np.array([[150.3, 118.7]], np.float32), np.array([120.6], np.float32))
    cameras = crop.stack_cameras(camera, track, size)
    points = jnp.asarray(np.random.default_rng(0).uniform([-1.5, -1.5, -1], [1.5, 1.5, 1], (500, 3)))
    in_image = np.asarray(project(points, camera))
    in_crop = np.asarray(project(points, jax.tree.map(lambda x: x[0], cameras)))
    affine = (in_image - (track.center[0] - track.side[0] / 2)) * size / track.side[0]
    np.testing.assert_allclose(in_crop, affine, atol=1e-3)

    picture = crop.cut(_ramps(), track.center[0], float(track.side[0]), size).astype(float)
    inside = np.all((in_crop > 1) & (in_crop < size - 1), axis=1)
    assert inside.sum() > 50
    columns, rows = in_crop[inside].astype(int).T
    centre = np.stack([columns, rows], 1) + 0.5  # of the crop's pixel, in the image:
    x, y = (centre * track.side[0] / size + track.center[0] - track.side[0] / 2).T
    np.testing.assert_allclose(picture[rows, columns, 0], 0.75 * x, atol=1.1)
    np.testing.assert_allclose(picture[rows, columns, 1], y, atol=1.1)


def test_cut_and_paste_give_the_picture_back():
    image = _ramps()
    before = image.copy()
    for center, side, size, tolerance in (
        ((160.0, 120.0), 96.0, 96, 0),  # pixel on pixel
        ((150.3, 118.7), 101.3, 96, 1),
        ((150.3, 118.7), 60.0, 128, 1),
        ((150.3, 118.7), 150.0, 96, 1),  # shrunk in two steps
    ):
        piece = crop.cut(image, np.array(center), side, size).astype(np.float32)
        alpha = np.zeros((size, size), np.float32)
        alpha[8:-8, 8:-8] = 1
        out = crop.paste_back(image, piece, alpha, np.array(center), side)
        np.testing.assert_allclose(out.astype(int), image, atol=tolerance)
        # what is pasted appears where it was cut, and nowhere else
        marked = crop.paste_back(image, np.zeros_like(piece), alpha, np.array(center), side)
        x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        away = np.maximum(np.abs(x - center[0]), np.abs(y - center[1]))
        half = side / 2 * (size - 16) / size
        assert marked[away < half - 2].max() == 0
        np.testing.assert_array_equal(marked[away > half + 3], image[away > half + 3])
    np.testing.assert_array_equal(image, before)


def test_half_transparent_is_the_mean_of_both():
    image = np.full((64, 64, 3), 100, np.uint8)
    alpha = np.zeros((32, 32), np.float32)
    alpha[4:-4, 4:-4] = 0.5
    out = crop.paste_back(image, np.full((32, 32, 3), 200, np.float32), alpha, np.array([32.0, 32.0]), 32.0)
    assert out[32, 32].tolist() == [150, 150, 150] and out[2, 2].tolist() == [100, 100, 100]


@pytest.mark.parametrize("center", [(0.0, 0.0), (WIDTH, HEIGHT / 2), (WIDTH - 5.0, 3.0), (-30.0, 100.0)])
def test_squares_over_the_edge_repeat_the_border_and_paste_safely(center):
    image, size, side = _ramps(), 64, 80.0
    piece = crop.cut(image, np.array(center), side, size)
    rows = (np.arange(size) + 0.5) * side / size + center[1] - side / 2
    columns = (np.arange(size) + 0.5) * side / size + center[0] - side / 2
    wanted_y = np.clip(rows, 0.5, HEIGHT - 0.5)
    wanted_x = np.clip(columns, 0.5, WIDTH - 0.5)
    np.testing.assert_allclose(piece[..., 1], np.tile(wanted_y[:, None], (1, size)), atol=1.1)
    np.testing.assert_allclose(piece[..., 0], np.tile(0.75 * wanted_x, (size, 1)), atol=1.1)
    alpha = np.zeros((size, size), np.float32)
    alpha[6:-6, 6:-6] = 1
    out = crop.paste_back(image, piece.astype(np.float32), alpha, np.array(center), side)
    np.testing.assert_allclose(out.astype(int), image, atol=2)


def test_square_beside_the_picture_changes_nothing():
    image = _ramps()
    ones = np.ones((32, 32), np.float32)
    for center in ((-100.0, 50.0), (WIDTH + 100.0, 50.0), (50.0, -100.0), (50.0, HEIGHT + 100.0)):
        out = crop.paste_back(image, np.zeros((32, 32, 3), np.float32), ones, np.array(center), 60.0)
        np.testing.assert_array_equal(out, image)


def test_shrinking_does_not_alias():
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    piece = crop.cut(stripes, np.array([160.0, 120.0]), 200.0, 100)[8:-8, 8:-8]
    assert np.abs(piece.astype(int) - 128).max() <= 4


@pytest.mark.parametrize(("side", "size"), [(50, 192), (200, 192), (250, 256), (333, 320), (2000, 512)])
def test_native_size(side, size):
    sides = np.array([side, side, 3 * side], np.float32)  # the median counts
    assert crop.native_size(crop.CropTrack(np.zeros((3, 2), np.float32), sides)) == size
