"""Detail is raised to the sharpness of real frames, measured here with other means."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkjax.infer import detail

SIDE = 160


def frames(seed: int, grain: float) -> tuple[np.ndarray, np.ndarray]:
    """(real frames uint8, the same blurred in [0, 1])."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 180, (4, SIDE // 8, SIDE // 8, 3)).astype(np.float32)
    smooth = np.stack([cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for x in coarse])
    noise = [cv2.GaussianBlur(rng.normal(0, grain, x.shape), (0, 0), 1.0) for x in smooth]
    real = np.clip(smooth + np.stack(noise), 0, 255).astype(np.uint8)
    blurred = np.stack([cv2.GaussianBlur(x.astype(np.float32), (0, 0), 0.5) for x in real]) / 255
    return real, blurred


def sharpness(image: np.ndarray, face: np.ndarray) -> float:
    gray = image @ np.array([0.299, 0.587, 0.114])
    inner = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(inner[face[1:-1, 1:-1]].var())


def test_results_are_as_sharp_as_the_target():
    real, blurred = frames(0, 20.0)
    faces = np.zeros((4, SIDE, SIDE), bool)
    faces[:, 20:140, 30:130] = True
    ones = np.roll(real, 1, 0)
    found = detail.fit_detail(blurred, ones, real, faces)
    assert 0 < found.gain <= detail.MOST and found.one == detail.SHARE
    made = [detail.with_detail(b, o, found) for b, o in zip(blurred, ones, strict=True)]
    got = np.mean([sharpness(255 * m, f) for m, f in zip(made, faces, strict=True)])
    wanted = np.mean([sharpness(r, f) for r, f in zip(real, faces, strict=True)])
    assert got / wanted == pytest.approx(detail.TARGET, abs=0.06)


def test_nothing_is_raised_where_nothing_is_missing():
    real, _ = frames(1, 5.0)
    sharp = np.clip(real / 255 + np.random.default_rng(2).normal(0, 0.2, real.shape), 0, 1)
    faces = np.ones((4, SIDE, SIDE), bool)
    assert detail.fit_detail(sharp.astype(np.float32), real, real, faces).gain == 0


def test_detail_of_a_look_alike_replaces_the_pictures_own():
    real, blurred = frames(3, 20.0)
    made = detail.with_detail(blurred[0], real[0], detail.Detail(one=1.0, gain=0.0))
    low = cv2.GaussianBlur(blurred[0], (0, 0), detail.SIGMA * SIDE)
    other = real[0].astype(np.float32) / 255
    high = other - cv2.GaussianBlur(other, (0, 0), detail.SIGMA * SIDE)
    np.testing.assert_allclose(made, np.clip(low + high, 0, 1), atol=1e-5)
