"""How far a reconstruction is from a face that is known: shape, pose, expression."""

from __future__ import annotations

import numpy as np


def align_similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`points` [n 3] moved, turned and scaled to lie nearest to `target` (Umeyama 1991)."""
    mean, aim = points.mean(0), target.mean(0)
    a, b = points - mean, target - aim
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * sign).sum() / (a * a).sum()
    return scale * a @ (u * sign @ vt).T + aim


def shape_error(verts: np.ndarray, truth: np.ndarray, between_eyes: float) -> float:
    """Rms distance of corresponding vertices [n 3] after a similarity alignment, % of `between_eyes`.

    Args:
      verts, truth: the same vertices, of the front of the face.
      between_eyes: distance of the outer corners of the true eyes, in the unit of `truth`.
    """
    aligned = align_similarity(np.asarray(verts, np.float64), np.asarray(truth, np.float64))
    return float(100 * np.sqrt(((aligned - truth) ** 2).sum(-1).mean()) / between_eyes)


def pose_error(matrix: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Angle [*b] in degrees of the rotation between two rotation matrices [*b 3 3]."""
    cosine = (np.einsum("...ij,...ij->...", matrix, truth) - 1) / 2
    # near the identity the arc cosine has no digits left: use the chord
    chord = np.linalg.norm(np.asarray(matrix) - truth, axis=(-1, -2)) / (2 * np.sqrt(2))
    return np.degrees(
        np.where(chord < 0.1, 2 * np.arcsin(np.minimum(chord, 1.0)), np.arccos(np.clip(cosine, -1, 1)))
    )


def expression_error(exp: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference over frames and deformers, all of them 0..1."""
    return float(np.abs(np.clip(exp, 0.0, 1.0) - truth).mean())
