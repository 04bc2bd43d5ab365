"""Crop and region masks against matplotlib's point-in-polygon test and brute-force distances."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from matplotlib.path import Path

from talkjax.evaluate import regions
from talkjax.face import mesh468
from tests.evaluate import faces


def _inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    return Path(np.concatenate([points, points[:1]])).contains_points(centres).reshape(height, width)


@pytest.mark.parametrize("seed", range(6))
def test_fill_polygon_equals_point_in_polygon(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 17))
    star = np.array([30, 22]) + rng.uniform(4, 33, (17, 1)) * np.stack([np.cos(angle), np.sin(angle)], -1)
    mask = regions.fill_polygon(star, 45, 60)  # reaches over the border, not convex
    np.testing.assert_array_equal(mask, _inside(star, 45, 60))
    assert mask.any()


def test_fill_polygon_outside_and_flat_are_empty() -> None:
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    assert regions.fill_polygon(square, 10, 10).sum() == 16
    assert not regions.fill_polygon(square + 50, 10, 10).any()
    assert not regions.fill_polygon(square - 50, 10, 10).any()
    assert not regions.fill_polygon(np.array([[1, 3.5], [8, 3.5], [5, 3.5]]), 10, 10).any()


def test_crop_box_is_the_scaled_landmark_square() -> None:
    points = np.zeros((478, 3))
    points[:, 0] = np.linspace(100, 180, 478)
    points[:468, 1] = np.linspace(40, 140, 468)
    points[468:] = 1e6  # the iris points do not count
    points[:468, 0] = np.linspace(100, 180, 468)
    box = regions.crop_box(points)
    assert box == regions.CropBox(x=80, y=30, side=120)


def test_crop_puts_a_dot_where_to_crop_says() -> None:
    frame = np.zeros((400, 500, 3), np.uint8)
    frame[210:214, 300:304] = 255  # centre (302, 212)
    box = regions.CropBox(x=150, y=60, side=300)
    small = regions.crop(frame, box, 256).astype(float)[..., 0]
    y, x = np.mgrid[:256, :256] + 0.5
    found = np.array([(small * x).sum(), (small * y).sum()]) / small.sum()
    np.testing.assert_allclose(found, regions.to_crop(np.array([302.0, 212.0]), box), atol=0.05)


def test_crop_over_the_border_repeats_the_edge() -> None:
    frame = faces.photo(60, 80)
    got = regions.cut(frame, regions.CropBox(x=-10, y=-5, side=90))
    padded = cv2.copyMakeBorder(frame, 5, 25, 10, 0, cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(got, padded[:90, :90])


def test_growing_crop_is_interpolated_and_shrinking_is_averaged() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, ::2] = 200
    assert (regions.resize_square(frame, 4) == 100).all()  # a column pair averages to the middle
    assert regions.resize_square(frame, 16).shape == (16, 16, 3)


def _distance_to_hull(points: np.ndarray, size: int) -> np.ndarray:
    """Distance of pixel centres to the convex hull, 0 inside: the nearest of dense points on its edges."""
    edge = regions.hull(points).astype(float)
    t = np.linspace(0, 1, 60)[:, None]
    dense = np.concatenate([a + t * (b - a) for a, b in zip(edge, np.roll(edge, -1, axis=0), strict=True)])
    y, x = np.mgrid[:size, :size] + 0.5
    distance = np.full((size, size), np.inf)
    for px, py in dense:
        distance = np.minimum(distance, np.hypot(x - px, y - py))
    distance[_inside(edge, size, size)] = 0
    return distance


def test_region_masks_follow_the_definitions() -> None:
    landmarks = faces.face(opening=0.15)
    box = regions.crop_box(landmarks)
    masks = regions.region_masks(landmarks, box, 128)
    points = regions.to_crop(landmarks, box, 128)
    hull = points[:468][np.unique(cv2.convexHull(points[:468].astype(np.float32), returnPoints=False))]
    hull = hull[np.argsort(np.arctan2(*(hull - hull.mean(axis=0)).T))]
    assert (masks.face != _inside(hull, 128, 128)).sum() <= 2

    width = np.linalg.norm(points[61] - points[291])
    distance = _distance_to_hull(points[mesh468.OUTER_LIPS], 128)
    assert masks.mouth[distance < 0.15 * width - 0.2].all()
    assert not masks.mouth[distance > 0.15 * width + 0.05].any()

    near = np.zeros((128, 128), bool)
    far = np.ones((128, 128), bool)
    for loop, (a, b) in ((mesh468.RIGHT_EYE, (33, 133)), (mesh468.LEFT_EYE, (362, 263))):
        distance = _distance_to_hull(points[loop], 128)
        reach = 0.15 * np.linalg.norm(points[a] - points[b])
        near |= distance < reach - 0.2
        far &= distance > reach + 0.05
    assert masks.eyes[near].all() and not masks.eyes[far].any()
    np.testing.assert_array_equal(masks.mouth_interior, _inside(points[mesh468.INNER_LIPS], 128, 128))


def test_closed_lips_have_no_interior_and_the_frame_limits_every_region() -> None:
    closed = faces.face(opening=0.0)
    assert regions.region_masks(closed, regions.crop_box(closed)).mouth_interior.sum() == 0
    edge = faces.face(center=(10.0, 150.0))  # the left half of the face is outside the frame
    box = regions.crop_box(edge)
    masks = regions.region_masks(edge, box, 256, frame_size=(300, 320))
    outside = (np.arange(256) + 0.5) * box.side / 256 + box.x < 0
    assert outside.any() and masks.face.any()
    for _, mask in masks.items():
        assert not mask[:, outside].any()
