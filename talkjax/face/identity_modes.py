"""Low-rank Gaussian-process modes of face shape: smooth, nearly mirror-symmetric changes of any neutral.

They stand where the reference has BFM's identity basis: a coefficient is in standard deviations of a
prior that knows only smoothness at three scales and left-right symmetry (face.md §2).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

_SCALES_DM = ((0.8, 0.07), (0.35, 0.042), (0.16, 0.02))
"""(length scale, standard deviation) of the summed squared-exponential kernels, decimetres."""

_ASYMMETRY = 0.06
"""Variance of left-right asymmetric change relative to symmetric change."""


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return sum(amp**2 * np.exp(-squared / (2 * length**2)) for length, amp in _SCALES_DM)


def gp_identity_modes(neutral: np.ndarray, n: int = 80) -> np.ndarray:
    """The `n` strongest modes of the prior, evaluated on a neutral face.

    Args:
      neutral: [v 3] dm, canonical frame (x = 0 is the mirror plane).
      n: number of modes, at most 3 v.

    Returns:
      [n v 3] float64 dm per standard deviation, strongest first; each moves one axis. Signs are fixed
      (largest entry positive), so equal neutrals give equal modes.
    """
    neutral = np.asarray(neutral, np.float64)
    same, mirrored = _kernel(neutral, neutral), _kernel(neutral, neutral * [-1.0, 1.0, 1.0])
    modes: list[tuple[float, int, np.ndarray]] = []
    for axis in range(3):
        sign = -1.0 if axis == 0 else 1.0  # mirroring flips a sideways displacement
        cov = 0.5 * (same + sign * mirrored) + _ASYMMETRY * 0.5 * (same - sign * mirrored)
        strongest = [max(len(cov) - n, 0), len(cov) - 1]
        values, vectors = eigh(cov, subset_by_index=strongest)
        modes += [(float(value), axis, vectors[:, k]) for k, value in enumerate(values)]
    modes.sort(key=lambda mode: -mode[0])
    basis = np.zeros((n, len(neutral), 3))
    for k, (value, axis, vector) in enumerate(modes[:n]):
        flip = np.sign(vector[np.argmax(np.abs(vector))])
        basis[k, :, axis] = np.sqrt(max(value, 0.0)) * flip * vector
    return basis
