"""Pasting: alpha without holes or border, a background that follows the outline of the new face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkjax.face import mesh468
from talkjax.infer import compose
from talkjax.types import EYES, MOUTH, SKIN
from tests.oracles.drawn_face import drawn_neutral

SIZE = 192


@pytest.fixture(scope="module")
def face_px() -> np.ndarray:
    """[468 2] the drawn face, upright in the middle of the crop."""
    neutral = drawn_neutral()
    return (np.array([0.5, 0.5]) + np.c_[neutral[:, 0], -(neutral[:, 1] + 0.28)] / 2.2) * SIZE


def _filled(px: np.ndarray) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [np.round(px[mesh468.FACE_OVAL]).astype(np.int32)], 1)
    return mask.astype(bool)


def _region(px: np.ndarray) -> np.ndarray:
    region = np.where(_filled(px), SKIN, -1)
    for loop, value in ((mesh468.INNER_LIPS, MOUTH), (mesh468.RIGHT_EYE, EYES), (mesh468.LEFT_EYE, EYES)):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(mask, [np.round(px[loop]).astype(np.int32)], 1)
        region[mask > 0] = value
    return region


def test_alpha_is_full_inside_zero_at_the_outline_and_has_no_holes(face_px):
    region = _region(face_px)
    assert {SKIN, MOUTH, EYES} <= set(np.unique(region))
    alpha = compose.face_alpha(region)
    inside = region >= 0
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    assert alpha[~inside].max() == 0 and alpha.min() >= 0 and alpha.max() <= 1 + 1e-6
    assert alpha[inside & (depth <= 1)].max() < 0.04  # no edge where it begins
    assert alpha[depth > 3 * SIZE * compose.FEATHER].min() > 0.99  # eyes and mouth too
    assert alpha[region == MOUTH].min() > 0.99
    steps = np.abs(np.diff(alpha, axis=0)).max(), np.abs(np.diff(alpha, axis=1)).max()
    assert max(steps) < 0.35


def test_a_face_that_leaves_the_crop_fades_at_its_border():
    region = np.full((64, 64), SKIN)
    alpha = compose.face_alpha(region)
    assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) < 0.05
    assert alpha[32, 32] == pytest.approx(1)


def test_composite_mixes_by_alpha():
    rng = np.random.default_rng(0)
    face, background = rng.uniform(size=(2, 8, 8, 3))
    alpha = rng.uniform(size=(8, 8))
    np.testing.assert_allclose(compose.composite(face, background, np.zeros((8, 8))), background)
    np.testing.assert_allclose(compose.composite(face, background, np.ones((8, 8))), face)
    out = compose.composite(face, background, alpha)
    assert out[3, 4, 1] == pytest.approx(
        (1 - alpha[3, 4]) * background[3, 4, 1] + alpha[3, 4] * face[3, 4, 1]
    )


def test_equal_outlines_leave_the_background_as_it_is(face_px):
    crop = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    assert compose.warp_background(crop, face_px, face_px) is crop
    inner = face_px.copy()
    inner[mesh468.LIPS] += 9.0  # lips are no outline
    assert compose.warp_background(crop, inner, face_px) is crop
    assert compose.warp_background(crop, face_px + 0.2, face_px) is crop  # less than anyone sees


def _opened(px: np.ndarray, drop: float) -> np.ndarray:
    """The outline of the same head with the chin lower by `drop` pixels."""
    out = px.copy()
    below = np.clip((px[:, 1] - SIZE * 0.6) / (px[:, 1].max() - SIZE * 0.6), 0, 1)
    out[:, 1] += drop * below**2
    return out


@pytest.mark.parametrize("drop", [8.0, -8.0])
def test_the_background_face_moves_to_the_new_outline(face_px, drop):
    new = _opened(face_px, drop)
    crop = np.where(_filled(face_px)[..., None], 40, 210).astype(np.uint8) * np.ones((1, 1, 3), np.uint8)
    before = crop.copy()
    warped = compose.warp_background(crop, new, face_px)
    np.testing.assert_array_equal(crop, before)
    is_face, wanted, was = warped[..., 0] < 125, _filled(new), _filled(face_px)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / (a | b).sum())

    chin = slice(int(SIZE * 0.7), None)
    assert overlap(was[chin], wanted[chin]) < 0.85
    assert overlap(is_face[chin], wanted[chin]) > 0.95
    distance = cv2.distanceTransform((~(was | wanted)).astype(np.uint8), cv2.DIST_L2, 5)
    far = distance > 0.3 * SIZE
    np.testing.assert_array_equal(warped[far], crop[far])


def test_far_surroundings_stay(face_px):
    rng = np.random.default_rng(1)
    crop = cv2.GaussianBlur(rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8), (0, 0), 2)
    warped = compose.warp_background(crop, _opened(face_px, 6.0), face_px)
    corner = SIZE // 12
    for rows in (slice(None, corner), slice(-corner, None)):
        for columns in (slice(None, corner), slice(-corner, None)):
            difference = np.abs(warped[rows, columns].astype(int) - crop[rows, columns])
            assert difference.max() <= 2


def test_crop_alpha_pastes_no_box():
    alpha = compose.crop_alpha(100)
    border = np.r_[alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]
    assert border.max() < 0.03 and np.all(alpha[8:-8, 8:-8] == 1)
    assert np.abs(np.diff(alpha, axis=0)).max() < 0.3


def test_high_pass_keeps_detail_and_drops_the_rest():
    flat = np.full((32, 32, 3), 0.4, np.float32)
    np.testing.assert_allclose(compose.high_pass(flat, 1.5), 0, atol=1e-6)
    checks = flat + 0.1 * ((np.indices((32, 32)).sum(0) % 2) * 2 - 1)[..., None].astype(np.float32)
    np.testing.assert_allclose(compose.high_pass(checks, 2.0), checks - 0.4, atol=0.01)


def test_the_whole_head_moves_with_the_face_and_the_surroundings_stay(face_px):
    """Hair above the face moves as the face does; far away nothing moves; the face lands on its place."""
    y, x = np.mgrid[:300, :300].astype(np.float32)
    frame = np.stack([x * 255 / 300, y * 255 / 300, 0 * x], -1).astype(np.uint8)
    old = face_px * 0.6 + [90, 110]
    angle, shift = 0.08, np.array([7.0, -4.0])
    center = old[mesh468.FACE_OVAL].mean(0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    new = (old - center) @ turn.T + center + shift
    moved, settled = compose.move_head(frame, new, old)
    np.testing.assert_allclose(settled, new, atol=0.05)  # a rigid turn is affine: nothing is left to warp

    def shown(point: np.ndarray) -> np.ndarray:
        """Which place of the frame the moved picture shows at a point: its colour says."""
        return moved[round(point[1]), round(point[0]), :2] * (300 / 255.0)

    oval = new[mesh468.FACE_OVAL]
    above = np.array([oval[:, 0].mean(), oval[:, 1].min() - 0.2 * np.ptp(oval[:, 1])])
    back = (above - center - shift) @ turn + center
    np.testing.assert_allclose(shown(above), back, atol=2.0)
    for corner in ((3, 3), (296, 4), (5, 295)):
        np.testing.assert_array_equal(moved[corner[1], corner[0]], frame[corner[1], corner[0]])
    same, unmoved = compose.move_head(frame, old + 0.1, old)
    assert same is frame and unmoved is old


def test_a_morph_shows_a_moved_thing_once_and_half_way():
    first = np.full((160, 240, 3), 200, np.uint8)
    second = first.copy()
    rng = np.random.default_rng(0)
    thing = cv2.GaussianBlur(rng.integers(0, 120, (50, 50, 3), np.uint8), (0, 0), 2)
    first[50:100, 80:130], second[50:100, 90:140] = thing, thing
    middle = compose.morph(first, second, 0.5)
    expected = np.full_like(first, 200)
    expected[50:100, 85:135] = thing
    blend = cv2.addWeighted(first, 0.5, second, 0.5, 0)

    def error(image: np.ndarray) -> float:
        return float(np.abs(image.astype(int) - expected).mean())

    assert error(middle) < 0.4 * error(blend)
    np.testing.assert_allclose(compose.morph(first, second, 0.0), first, atol=3)
