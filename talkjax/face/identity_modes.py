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


def _covariance(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Prior covariance [a b] of displacements along an axis at points [a 3] and [b 3], dm^2."""
    same, mirrored = _kernel(a, b), _kernel(a, b * [-1.0, 1.0, 1.0])
    sign = -1.0 if axis == 0 else 1.0  # mirroring flips a sideways displacement
    return 0.5 * (same + sign * mirrored) + _ASYMMETRY * 0.5 * (same - sign * mirrored)


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
    modes: list[tuple[float, int, np.ndarray]] = []
    for axis in range(3):
        cov = _covariance(neutral, neutral, axis)
        strongest = [max(len(cov) - n, 0), len(cov) - 1]
        values, vectors = eigh(cov, subset_by_index=strongest)
        modes += [(float(value), axis, vectors[:, k]) for k, value in enumerate(values)]
    modes.sort(key=lambda mode: -mode[0])
    basis = np.zeros((n, len(neutral), 3))
    for k, (value, axis, vector) in enumerate(modes[:n]):
        flip = np.sign(vector[np.argmax(np.abs(vector))])
        basis[k, :, axis] = np.sqrt(max(value, 0.0)) * flip * vector
    return basis


def carry_modes(modes: np.ndarray, points: np.ndarray, verts: np.ndarray) -> np.ndarray:
    """Modes known at some points of a face, at all its vertices: the prior's mean given the points.

    Args:
      modes: [n p 3] dm at `points` [p 3] of the neutral, canonical orientation (x = 0 is the mirror plane).
      verts: [v 3].

    Returns:
      [n v 3]; far from the points (ears, neck) nothing moves.
    """
    out = np.zeros((len(modes), len(verts), 3))
    for axis in range(3):
        cov = _covariance(points, points, axis)
        cov += 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))  # points may coincide
        weights = np.linalg.solve(cov, modes[:, :, axis].T)
        out[:, :, axis] = (_covariance(verts, points, axis) @ weights).T
    return out
