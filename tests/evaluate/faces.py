"""A drawn face for the tests: 478 landmarks whose lips, lids and ridge are where a test puts them."""

from __future__ import annotations

import numpy as np

from talkjax.face import mesh468


def _ellipse(loop: np.ndarray, center: tuple[float, float], width: float, height: float) -> np.ndarray:
    """Points of a corner-up-corner-down loop on an ellipse, y down."""
    angle = np.pi + np.arange(len(loop)) * (2 * np.pi / len(loop))
    return np.array(center) + np.stack([width / 2 * np.cos(angle), height / 2 * np.sin(angle)], axis=-1)


def face(
    center: tuple[float, float] = (160.0, 150.0),
    eye_distance: float = 80.0,
    opening: float = 0.1,
    width: float = 0.6,
    lids: float = 0.3,
) -> np.ndarray:
    """Landmarks `[478 3]` px of a frontal face.

    Args:
      center: pixel between the eyes; eye_distance: 33-263, px.
      opening: 13-14 over the eye distance; width: 61-291 over it.
      lids: lid gap over the width of an eye.
    """
    rng = np.random.default_rng(5)
    unit = np.zeros((478, 2))
    # anything that no test places: spread inside the oval, below the forehead
    radius, angle = np.sqrt(rng.uniform(0.02, 0.6, 478)), rng.uniform(0, 2 * np.pi, 478)
    unit[:] = np.stack([0.85 * radius * np.cos(angle), 0.4 + 1.1 * radius * np.sin(angle)], axis=-1)
    oval = np.linspace(0, 2 * np.pi, len(mesh468.FACE_OVAL), endpoint=False)
    unit[mesh468.FACE_OVAL] = np.stack([0.85 * np.sin(oval), 0.4 - 1.1 * np.cos(oval)], axis=-1)
    for loop, x in ((mesh468.RIGHT_EYE, -0.33), (mesh468.LEFT_EYE, 0.33)):
        unit[loop] = _ellipse(loop, (x, 0.0), 0.34, 0.34 * lids)
    unit[mesh468.NOSE_RIDGE] = np.stack([np.zeros(6), np.linspace(0, 0.5, 6)], axis=-1)
    for row in mesh468.LIPS.reshape(4, 20)[2:]:
        unit[row] = (0.0, 0.9)
    unit[mesh468.OUTER_LIPS] = _ellipse(mesh468.OUTER_LIPS, (0.0, 0.9), width, opening + 0.2)
    unit[mesh468.INNER_LIPS] = _ellipse(mesh468.INNER_LIPS, (0.0, 0.9), 0.9 * width, opening)
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = np.array(center) + eye_distance * unit
    return points


def speaking(opening: np.ndarray, eye_distance: float = 80.0, width: float = 0.6) -> np.ndarray:
    """Landmarks `[t 478 3]` of a still head whose lips open by `opening` `[t]`."""
    return np.stack([face(opening=float(value), eye_distance=eye_distance, width=width) for value in opening])


def smooth_noise(n: int, seed: int, width: int = 5) -> np.ndarray:
    """A random series `[n]` in [0.02, 0.25] that changes over about `width` frames, like lips."""
    noise = np.random.default_rng(seed).normal(size=n + width)
    series = np.convolve(noise, np.hanning(width + 2)[1:-1], "same")[:n]
    return 0.02 + 0.23 * (series - series.min()) / np.ptp(series)


def photo(height: int = 300, width: int = 320, seed: int = 0) -> np.ndarray:
    """A textured uint8 RGB picture `[h w 3]`: smooth color plus grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack(
        [120 + 60 * np.sin(x / 31), 120 + 50 * np.cos(y / 23), 90 + 40 * np.sin((x + y) / 17)], -1
    )
    return np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
