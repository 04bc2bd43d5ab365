"""Five points, eight unknowns, 102 pixels a unit: the reference's crop, number by number."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face import alignment, mesh468
from talkjax.face.alignment import crop_points, fit_alignment, five_points, landmarks_68, standard_camera
from talkjax.raster.camera import project

SIZE = (1280, 720)
# reference.md §2.4, typed here once more
FIVE = [
    (-0.3115, 0.2904, 0.1338),
    (0.3098, 0.2897, 0.1318),
    (0.0033, -0.0462, 0.5524),
    (-0.2522, -0.3813, 0.2241),
    (0.2485, -0.3813, 0.2224),
]


def _by_rows(five: np.ndarray, height: int) -> tuple[float, float, float]:
    """s, tx, ty from the ten equations of one frame, written out."""
    system, right = np.zeros((10, 8)), np.zeros(10)
    for k, (x, y, z) in enumerate(FIVE):
        system[2 * k] = [x, y, z, 1, 0, 0, 0, 0]
        system[2 * k + 1] = [0, 0, 0, 0, x, y, z, 1]
        right[2 * k], right[2 * k + 1] = five[k, 0], height - 1 - five[k, 1]
    answer = np.linalg.lstsq(system, right, rcond=None)[0]
    s = (np.sqrt((answer[0:3] ** 2).sum()) + np.sqrt((answer[4:7] ** 2).sum())) / 2
    return s, answer[3], answer[7]


def test_the_standard_points_are_the_references():
    np.testing.assert_array_equal(alignment.STANDARD_FIVE, FIVE)
    assert (alignment.CROP_SIZE, alignment.TARGET_SCALE) == (224, 102.0)


def test_alignment_is_the_least_squares_of_eight_unknowns():
    rng = np.random.default_rng(0)
    five = np.array([600.0, 300.0]) + 300 * np.array(FIVE)[:, :2] * [1, -1] + rng.normal(0, 8, (4, 5, 2))
    found = fit_alignment(five, SIZE)
    for k in range(4):
        s, tx, ty = _by_rows(five[k], 720)
        np.testing.assert_allclose(found.trans_params[k], [1280, 720, 102 / s, tx, ty], rtol=1e-9)


def test_a_scaled_standard_face_is_found_exactly_and_lies_at_102_pixels_a_unit():
    shown = np.array(FIVE)[:, :2] * 250 + [700, 400]  # y up
    image = np.stack([shown[:, 0], 719 - shown[:, 1]], 1)
    found = fit_alignment(image, SIZE)
    assert found.scale == pytest.approx(250, rel=1e-9)
    np.testing.assert_allclose(found.trans_params, [1280, 720, 102 / 250, 700, 400], rtol=1e-9)
    inside = crop_points(image, found)
    np.testing.assert_allclose(inside[:, 0], 112 + 102 * np.array(FIVE)[:, 0], rtol=1e-9)
    np.testing.assert_allclose(inside[:, 1], 112 - 102 * np.array(FIVE)[:, 1], rtol=1e-9)


def test_the_crops_camera_is_the_references():
    points = np.random.default_rng(1).normal(0, 0.5, (30, 3))
    x, y, z = points.T
    u = 1015 * x / (10 - z) + 112
    v = 224 - (1015 * y / (10 - z) + 112)
    seen = project(jnp.float32(points), standard_camera())
    np.testing.assert_allclose(seen, np.stack([u, v], 1), atol=1e-4)
    # a face in the crop stands about where 102 px are a unit: 1015 / 102 = 9.95 from the camera
    assert pytest.approx(9.95, abs=0.01) == 1015 / 102


def test_five_of_68_are_eyes_nose_and_mouth_corners_from_image_left():
    marks = np.stack([np.arange(68.0), 100 + np.arange(68.0)], 1)
    expected = [(36 + 39) / 2, (42 + 45) / 2, 30, 48, 54]  # 1-based: 37,40; 43,46; 31; 49; 55
    np.testing.assert_array_equal(five_points(marks)[:, 0], expected)
    np.testing.assert_array_equal(five_points(marks[None])[0], five_points(marks))


def test_the_68_are_where_the_annotation_has_them(drawn):
    points = landmarks_68(drawn)
    assert len(set(alignment.LANDMARKS_68.tolist())) == 68
    x, y = points[:, 0], points[:, 1]  # y up
    # outline: down the image's left side to the chin and up again
    assert (np.diff(y[:9]) < 0).all() and (np.diff(y[8:17]) > 0).all() and x[:8].max() < 0 < x[9:17].min()
    assert (np.diff(x[17:27]) > 0).all() and y[17:27].min() > y[36:48].max()  # brows over eyes
    assert (np.diff(y[27:31]) < 0).all() and (np.diff(x[31:36]) > 0).all()  # ridge down, wings across
    for first in (36, 42):  # corner, two above, corner, two below from right to left
        assert x[first] < x[first + 1] < x[first + 2] < x[first + 3]
        assert x[first + 4] > x[first + 5] and y[first + 1] > y[first + 5]
    assert (np.diff(x[48:55]) > 0).all() and (np.diff(x[54:60]) < 0).all()
    assert (np.diff(x[60:65]) > 0).all() and (np.diff(x[64:68]) < 0).all()
    assert set(alignment.LANDMARKS_68[48:60]) <= set(mesh468.OUTER_LIPS)
    assert set(alignment.LANDMARKS_68[60:]) <= set(mesh468.INNER_LIPS)
    mirrored = np.r_[np.arange(16, -1, -1), np.arange(26, 16, -1), 27:31, np.arange(35, 30, -1)]
    np.testing.assert_allclose(x[mirrored], -x[:36], atol=0.02)  # a symmetric face


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    from tests.oracles.drawn_face import drawn_neutral

    return drawn_neutral()


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    points, target = rng.normal(size=(2, 5, 2)) * 30 + 50
    got = alignment.similarity(points, target)
    # x' = a x - b y + c, y' = b x + a y + d as one system of ten equations
    system = np.zeros((10, 4))
    system[0::2] = np.c_[points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)]
    system[1::2] = np.c_[points[:, 1], points[:, 0], np.zeros(5), np.ones(5)]
    a, b, c, d = np.linalg.lstsq(system, target.reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(got, [[a, -b, c], [b, a, d]], atol=1e-9)
    both = alignment.similarity(np.stack([points, points + 3]), alignment.ARCFACE_FIVE)
    np.testing.assert_allclose(both[0][:, :2], both[1][:, :2], atol=1e-9)
