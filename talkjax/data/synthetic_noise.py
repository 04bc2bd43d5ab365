"""Small painting tools: periodic noise in space, soft steps, sRGB conversion. numpy, deterministic."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

_LATTICE = 48


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, cubic between; `low` may be the larger one (then it falls)."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(points: np.ndarray, center: tuple[float, ...], radius: tuple[float, ...]) -> np.ndarray:
    """Gaussian bump exp(-sum(((p - center) / radius)^2)) over the last axis; mirrored over x = 0 is |x|."""
    return np.exp(-(((points[..., : len(center)] - center) / np.asarray(radius)) ** 2).sum(-1))


def linear_from_srgb(color: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """sRGB in [0, 1] -> linear light (IEC 61966-2-1)."""
    c = np.asarray(color, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((np.maximum(c, 0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(color: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB, both in [0, 1]."""
    c = np.clip(color, 0.0, 1.0)
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * np.maximum(c, 0.0031308) ** (1 / 2.4) - 0.055)


class SpaceNoise:
    """Band-limited random fields over space: value noise on a periodic lattice, mean 0, std about 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._lattice = rng.standard_normal((_LATTICE,) * 3).astype(np.float32)

    def field(self, points: np.ndarray, wavelength: float) -> np.ndarray:
        """[..., 2 or 3] positions -> [...] one octave with features of about `wavelength` (same units)."""
        flat = points.reshape(-1, points.shape[-1]).astype(np.float32) / wavelength
        if flat.shape[1] == 2:
            flat = np.concatenate([flat, np.full((len(flat), 1), 0.37, np.float32)], 1)
        values = map_coordinates(self._lattice, (flat % _LATTICE).T, order=1, mode="grid-wrap")
        return 1.6 * values.reshape(points.shape[:-1])

    def fractal(
        self, points: np.ndarray, wavelength: float, octaves: int = 4, gain: float = 0.55
    ) -> np.ndarray:
        """Sum of octaves from `wavelength` down by halves, normalized to about unit std."""
        total = np.zeros(points.shape[:-1])
        for octave in range(octaves):
            total += gain**octave * self.field(points + 7.3 * octave * wavelength, wavelength / 2**octave)
        return total / np.sqrt(sum(gain ** (2 * octave) for octave in range(octaves)))
