"""Detector arithmetic against loops, and real detection down to small faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkjax.track.detect import (
    Detection,
    Tile,
    anchors,
    box_overlap,
    decode,
    detect_tiles,
    merge_distinct,
    merge_weighted,
    pyramid,
)
from talkjax.track.landmark_follow import find_faces

IOD_PX = 182  # outer-eye distance in the real clip


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def test_anchors_are_cell_centres_row_by_row():
    expected = [
        ((x + 0.5) / n, (y + 0.5) / n)
        for n, repeats in ((16, 2), (8, 6))
        for y in range(n)
        for x in range(n)
        for _ in range(repeats)
    ]
    np.testing.assert_allclose(anchors(), expected)


def test_decode_one_face():
    regressors, logits = np.zeros((896, 16), np.float32), np.full(896, -9.0, np.float32)
    row = 2 * (16 * 4 + 7)  # first anchor of cell (7, 4): centre (7.5, 4.5) / 16
    regressors[row] = [12.8, -6.4, 64, 32, *[6.4, 12.8] * 6]
    logits[row] = _logit(0.9)
    (face,) = decode(regressors, logits)
    center = np.array([7.5 / 16 + 0.1, 4.5 / 16 - 0.05])
    half = np.array([0.25, 0.125])
    np.testing.assert_allclose(face.box, [*(center - half), *(center + half)], atol=1e-6)
    np.testing.assert_allclose(face.keypoints, np.tile([7.5 / 16 + 0.05, 4.5 / 16 + 0.1], (6, 1)), atol=1e-6)
    assert face.score == pytest.approx(0.9)


def test_decode_survives_extreme_logits():
    logits = np.full(896, -1e30, np.float32)
    assert decode(np.zeros((896, 16), np.float32), logits) == []
    logits[:] = np.nan
    assert decode(np.zeros((896, 16), np.float32), logits) == []


def test_overlap_against_pixel_counting():
    rng = np.random.default_rng(0)
    boxes = rng.integers(0, 12, (20, 2, 2))
    boxes = np.concatenate([boxes.min(1), boxes.max(1) + 1], 1)
    canvas = np.zeros((21, 14, 14), bool)
    for k, (x0, y0, x1, y1) in enumerate([[3, 3, 9, 8], *boxes]):
        canvas[k, y0:y1, x0:x1] = True
    shared = (canvas[0] & canvas[1:]).sum((1, 2))
    union, smaller = box_overlap(np.array([3.0, 3, 9, 8]), boxes.astype(float))
    np.testing.assert_allclose(union, shared / (canvas[0] | canvas[1:]).sum((1, 2)))
    np.testing.assert_allclose(smaller, shared / np.minimum(canvas[0].sum(), canvas[1:].sum((1, 2))))


def test_merge_averages_by_score_and_keeps_distinct_faces():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], float)
    scores = np.array([0.9, 0.6, 0.8])
    keypoints = np.repeat(boxes[:, None, :2], 6, axis=1)
    first, second = merge_weighted(scores, boxes, keypoints)
    np.testing.assert_allclose(first.box, (0.9 * boxes[0] + 0.6 * boxes[1]) / 1.5)
    np.testing.assert_allclose(first.keypoints[0], [0.4, 0])
    np.testing.assert_allclose(second.box, boxes[2])
    inner = Detection(
        0.7, np.array([2.0, 2, 6, 6]), keypoints[0]
    )  # a piece of the first, seen by another tile
    assert merge_distinct([inner, second, first]) == [first, second]


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (1080, 1080), (240, 426), (90, 120)])
def test_pyramid_shows_every_small_square_whole(size):
    height, width = size
    levels = list(pyramid(height, width))
    assert levels[0][0].side == max(size) and len(levels[0]) == 1
    rng = np.random.default_rng(1)
    for tiles in levels:
        side = tiles[0].side // 2 - 1  # half-overlapping tiles: no square of half a side falls between them
        for _ in range(50):
            x, y = rng.integers(0, max(width - side, 1)), rng.integers(0, max(height - side, 1))
            assert any(
                t.left <= x and t.top <= y and x + side <= t.left + t.side and y + side <= t.top + t.side
                for t in tiles
            )


def test_tile_place_does_not_move_the_face(models, clip_frames):
    frame = clip_frames[0]
    (whole,) = detect_tiles(frame, [Tile(0, -280, 1280)], models)
    (part,) = detect_tiles(frame, [Tile(200, 0, 720)], models)
    assert np.abs(whole.box - part.box).max() < 0.1 * whole.side
    assert 350 < whole.box[0] < whole.box[2] < 750  # where a person sees it


@pytest.mark.parametrize("iod", [91, 55, 36, 22])
def test_small_faces_are_found_in_a_large_frame(models, clip_frames, iod):
    scale = iod / IOD_PX
    for index in (0, 23, 47):
        small = cv2.resize(clip_frames[index], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.full_like(clip_frames[0], 90)
        top, left = (720 - small.shape[0]) // 3, (1280 - small.shape[1]) // 4
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        faces = find_faces(canvas, models)
        assert len(faces) == 1
        eyes = faces[0].landmarks[[33, 263], :2]
        assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(iod, rel=0.12)
        assert abs(eyes.mean(0)[0] - (left + 550 * scale)) < iod


def test_no_face_in_noise(models):
    rng = np.random.default_rng(0)
    assert find_faces(rng.integers(0, 255, (270, 480, 3), dtype=np.uint8), models) == []
