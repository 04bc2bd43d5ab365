"""Face over background is the ordinary output; work ahead changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Generator

import cv2
import numpy as np
import pytest

from talkjax.infer import compose
from talkjax.infer.ahead import ahead
from talkjax.infer.face_layer import separated
from talkjax.infer.layers import HostPart, Layers
from talkjax.infer.synthesis import RefinedFace, pasted

SIZE = 96


def refined(seed: int, *, warped: bool, center: tuple[float, float] = (80.3, 61.7)) -> RefinedFace:
    rng = np.random.default_rng(seed)

    def picture(height: int, width: int) -> np.ndarray:
        coarse = rng.uniform(-30, 285, (height // 4, width // 4, 3))
        return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)

    full = picture(120, 160).astype(np.uint8)
    crop = picture(SIZE, SIZE).astype(np.uint8)
    behind = picture(SIZE, SIZE).astype(np.uint8) if warped else crop
    region = np.full((SIZE, SIZE), -1)
    cv2.ellipse(mask := np.zeros((SIZE, SIZE), np.uint8), (48, 50), (26, 34), 0, 0, 360, (1,), -1)
    region[mask > 0] = 0
    face = (picture(SIZE, SIZE) / 255).astype(np.float32)
    background = behind.astype(np.float32) / 255
    layers = Layers(face, face, face, region, compose.face_alpha(region), background)
    host = HostPart(full, crop, behind, np.zeros(0))
    return RefinedFace(face, host, layers, np.array(center, np.float32), 88.5)


@pytest.mark.parametrize("warped", [False, True])
@pytest.mark.parametrize("center", [(80.3, 61.7), (10.0, 20.0), (158.0, 118.9), (-400.0, 0.0)])
def test_face_over_background_is_the_output(warped, center) -> None:
    for seed in range(3):
        frame = refined(seed, warped=warped, center=center)
        layers, wanted = separated(frame), pasted(frame).result
        alpha = layers.face[..., 3:] / 255
        over = layers.background * (1 - alpha) + layers.face[..., :3] * alpha
        difference = np.abs(np.floor(over + 0.5) - wanted)
        assert difference.max() <= 1 and difference.mean() < 0.05
        if center[0] > 0:
            changed = np.abs(wanted.astype(int) - layers.background).max(-1) > 1
            assert changed.any() and (layers.face[..., 3][changed] > 0).all()
        if not warped:
            np.testing.assert_array_equal(layers.background, frame.host.full)


def test_mask_and_background_are_opaque() -> None:
    layers = separated(refined(0, warped=True))
    np.testing.assert_array_equal(layers.picture("mask")[..., 1], layers.face[..., 3])
    np.testing.assert_array_equal(layers.picture("background")[..., :3], layers.background)
    assert layers.picture("face") is layers.face
    for name in ("mask", "background"):
        assert (layers.picture(name)[..., 3] == 255).all()


def test_ahead_keeps_order_and_runs_before_it_is_asked() -> None:
    made, closed = [], threading.Event()
    third = threading.Event()

    def numbers() -> Generator[int, None, None]:
        try:
            for k in range(100):
                made.append(k)
                if k == 2:
                    third.set()
                yield k
        finally:
            closed.set()

    stream = ahead(numbers(), depth=2)
    assert next(stream) == 0 and third.wait(5)  # 1 and 2 are made while nobody asks
    assert [next(stream), next(stream)] == [1, 2]
    stream.close()
    assert closed.wait(5) and len(made) <= 6
    assert list(ahead(k * k for k in range(5))) == [0, 1, 4, 9, 16]


def test_ahead_raises_where_the_item_would_be() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise InterruptedError("third")

    stream = ahead(failing())
    assert next(stream) == 1
    with pytest.raises(InterruptedError, match="third"):
        next(stream)
    assert not list(stream)
