"""Each expression axis does what its name says, on different faces, to the right side."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.face import mesh468
from talkjax.face.deformers import EXP_NAMES, expression_deformers
from tests.oracles.drawn_face import drawn_neutral

FACES = {
    "drawn": drawn_neutral(),
    "wide mouth": drawn_neutral(mouth_width=0.32),
    "long": drawn_neutral() * [1.0, 1.15, 1.1],
}
UPPER_LIDS = {"R": (160, 159, 158), "L": (385, 386, 387)}
LOWER_LIDS = {"R": (144, 145, 153), "L": (380, 374, 373)}


@pytest.fixture(params=sorted(FACES))
def face(request) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    neutral = FACES[request.param]
    names, basis, _ = expression_deformers(neutral)
    return neutral, dict(zip(names, basis, strict=True))


def test_names_are_fixed_and_four_axes_are_signed():
    names, basis, signed = expression_deformers(FACES["drawn"])
    assert names == EXP_NAMES
    assert len(set(names)) == 43
    assert basis.shape == (43, 468, 3)
    assert [n for n, s in zip(names, signed, strict=True) if s] == ["jawLR", "jawFwd", "mouthLR", "mouthUD"]
    # every axis moves something, by centimetres at most
    largest = np.linalg.norm(basis, axis=2).max(1)
    assert largest.min() > 0.01
    assert largest.max() < 0.5


def test_jaw_open_lowers_lip_and_chin_and_leaves_the_upper_face(face):
    neutral, axes = face
    jaw = axes["jawOpen"]
    assert jaw[14, 1] < -0.1
    assert jaw[152, 1] < -0.05
    assert np.abs(jaw[13]).max() < 0.02
    assert np.abs(jaw[[33, 263, 168, 4, 10]]).max() < 1e-3
    opened = neutral + jaw
    assert opened[13, 1] - opened[14, 1] > neutral[13, 1] - neutral[14, 1] + 0.1


@pytest.mark.parametrize("side", ["R", "L"])
def test_blink_closes_one_eye(face, side):
    neutral, axes = face
    closed = neutral + axes[f"blink_{side}"]
    other = "L" if side == "R" else "R"
    for upper, lower in zip(UPPER_LIDS[side], LOWER_LIDS[side], strict=True):
        before, after = neutral[upper, 1] - neutral[lower, 1], closed[upper, 1] - closed[lower, 1]
        assert abs(after) < 0.2 * before
    assert np.abs(axes[f"blink_{side}"][list(UPPER_LIDS[other] + LOWER_LIDS[other])]).max() < 1e-6
    wider = neutral + axes[f"wide_{side}"]
    assert wider[UPPER_LIDS[side][1], 1] > neutral[UPPER_LIDS[side][1], 1] + 0.01
    squinted = neutral + axes[f"squint_{side}"]
    assert squinted[LOWER_LIDS[side][1], 1] > neutral[LOWER_LIDS[side][1], 1] + 0.01


@pytest.mark.parametrize(("side", "corner", "other"), [("R", 61, 291), ("L", 291, 61)])
def test_corners_of_the_mouth(face, side, corner, other):
    neutral, axes = face
    outward = np.sign(neutral[corner, 0])
    assert axes[f"smile_{side}"][corner, 1] > 0.03
    assert outward * axes[f"smile_{side}"][corner, 0] > 0.03
    assert axes[f"frown_{side}"][corner, 1] < -0.03
    assert outward * axes[f"stretch_{side}"][corner, 0] > 0.04
    for name in ("smile", "frown", "stretch", "dimple"):
        assert np.abs(axes[f"{name}_{side}"][other]).max() < 0.01


def test_lips(face):
    neutral, axes = face
    assert axes["upperUp"][13, 1] > 0.04
    assert axes["upperUp"][0, 1] > 0.04  # the whole lip, not its edge only
    assert np.abs(axes["upperUp"][mesh468.LOWER_LIP]).max() == 0
    assert axes["lowerDown"][14, 1] < -0.06
    assert axes["lowerDown"][17, 1] < -0.06
    assert np.abs(axes["lowerDown"][mesh468.UPPER_LIP]).max() == 0
    pucker = axes["pucker"]
    assert pucker[61, 0] > 0.03 > -0.03 > pucker[291, 0]  # corners come together
    assert pucker[[13, 14], 2].min() > 0.06  # lips come forward
    assert pucker[[0, 17], 2].min() > 0.02
    funnel = neutral + axes["funnel"]
    assert funnel[13, 1] - funnel[14, 1] > 0.03
    pressed = neutral + axes["press"]
    assert pressed[0, 1] - pressed[17, 1] < neutral[0, 1] - neutral[17, 1] - 0.01
    assert axes["rollUpper"][13, 2] < -0.03
    assert axes["rollLower"][14, 2] < -0.03
    assert axes["mouthLR"][13, 0] > 0.05
    assert axes["jawLR"][152, 0] > 0.05


@pytest.mark.parametrize(("side", "inner", "outer"), [("R", 55, 53), ("L", 285, 283)])
def test_brows(face, side, inner, outer):
    _, axes = face
    assert axes[f"browInUp_{side}"][inner, 1] > 0.04
    assert axes[f"browOutUp_{side}"][outer, 1] > 0.04
    assert axes[f"browDown_{side}"][inner, 1] < -0.03
    assert axes[f"browInUp_{side}"][inner, 1] > 2 * axes[f"browInUp_{side}"][outer, 1]
    opposite = 285 if side == "R" else 55
    assert axes[f"browOutUp_{side}"][opposite, 1] < 1e-3


def test_a_mirrored_face_swaps_right_and_left():
    # points on the mirror plane cannot tell; the corners and lids can
    neutral = FACES["drawn"] * [1.05, 1.0, 1.0]
    _, basis, _ = expression_deformers(neutral)
    axes = dict(zip(EXP_NAMES, basis, strict=True))
    pairs = ((61, 291), (159, 386), (145, 374), (55, 285), (53, 283), (40, 270), (91, 321))
    for name in EXP_NAMES:
        if not name.endswith("_R"):
            continue
        for right, left in pairs:
            mirrored = axes[name.replace("_R", "_L")][left] * [-1, 1, 1]
            np.testing.assert_allclose(axes[name][right], mirrored, atol=2e-3)


def test_left_and_right_halves_of_a_lip_add_up():
    axes = dict(zip(EXP_NAMES, expression_deformers(FACES["drawn"])[1], strict=True))
    halves = axes["upperUp_R"] + axes["upperUp_L"]
    np.testing.assert_allclose(halves, axes["upperUp"] * 5 / 6, atol=1e-9)
