"""A face drawn from a few curves on the 468-point mesh: a neutral for tests, nobody's likeness.

Eyes, lips, brows, nose and outline are placed by formula, all other points relax between them along the
mesh's edges (a harmonic map), and depth is an ellipsoid with a nose and lips.
"""

from __future__ import annotations

import numpy as np

from talkjax.face import mesh468


def _arc(n: int, left: float, right: float, base: float, height: float) -> np.ndarray:
    """Points [n 2] from left to right on half an ellipse over y = base (under it for height < 0)."""
    angle = np.linspace(np.pi, 0, n)
    middle, half = (left + right) / 2, (right - left) / 2
    return np.stack([middle + half * np.cos(angle), base + height * np.sin(angle)], axis=1)


def _loop(loop: np.ndarray, left: float, right: float, base: float, up: float, down: float) -> dict:
    """Places a corner-over-corner-under loop."""
    half = len(loop) // 2
    upper = _arc(half + 1, left, right, base, up)
    lower = _arc(half + 1, left, right, base, -down)
    points = np.concatenate([upper, lower[-2:0:-1]])
    return dict(zip(loop.tolist(), points, strict=True))


def _lips(width: float, base: float) -> dict:
    fixed: dict = {}
    for row, inward in zip(mesh468.LIPS.reshape(4, 20), (0.0, 1.0, 0.35, 0.7), strict=True):
        half_width = width * (1 - 0.08 * inward)
        up, down = 0.11 * (1 - inward) + 0.002, 0.15 * (1 - inward) + 0.002
        lower, upper = (
            _arc(11, -half_width, half_width, base, -down),
            _arc(11, -half_width, half_width, base, up),
        )
        fixed.update(zip(row.tolist(), np.concatenate([lower, upper[1:-1]]), strict=True))
    return fixed


def _placed(width: float) -> dict:
    oval = np.linspace(0, 2 * np.pi, len(mesh468.FACE_OVAL), endpoint=False)
    fixed = dict(
        zip(
            mesh468.FACE_OVAL.tolist(),
            np.stack([0.66 * np.sin(oval), -0.28 + 0.83 * np.cos(oval)], 1),
            strict=True,
        )
    )
    fixed.update(_loop(mesh468.RIGHT_EYE, -0.45, -0.18, 0.0, 0.045, 0.04))
    fixed.update(_loop(mesh468.LEFT_EYE, 0.18, 0.45, 0.0, 0.045, 0.04))
    for brow, s in ((mesh468.RIGHT_BROW, -1.0), (mesh468.LEFT_BROW, 1.0)):
        for k in range(5):
            x, y = s * (0.53 - 0.1 * k), 0.17 + 0.06 * np.sin(np.pi * k / 5)
            fixed[int(brow[k])], fixed[int(brow[5 + k])] = np.array([x, y]), np.array([x, y + 0.06])
    for k, y in zip(mesh468.NOSE_RIDGE.tolist(), np.linspace(0.07, -0.27, 6), strict=True):
        fixed[k] = np.array([0.0, y])
    fixed.update({98: np.array([-0.17, -0.38]), 327: np.array([0.17, -0.38]), 2: np.array([0.0, -0.39])})
    fixed.update(_lips(width, -0.62))
    return fixed


def _relax(fixed: dict) -> np.ndarray:
    """Solves the graph Laplace equation for all points that are not placed."""
    n = mesh468.N_MESH
    weights = np.zeros((n, n))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        weights[mesh468.FACES_SKIN[:, a], mesh468.FACES_SKIN[:, b]] = 1
    weights = np.maximum(weights, weights.T)
    laplacian = np.diag(weights.sum(1)) - weights
    known = np.array(sorted(fixed))
    free = np.setdiff1d(np.arange(n), known)
    points = np.zeros((n, 2))
    points[known] = [fixed[int(k)] for k in known]
    points[free] = np.linalg.solve(
        laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, known)] @ points[known]
    )
    return points


def _depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    skull = 0.85 * np.sqrt(np.clip(1 - (x / 0.82) ** 2 - ((y + 0.25) / 1.15) ** 2, 0.02, None))
    along = np.clip(-y / 0.32, 0, 1) / (1 + np.exp((-y - 0.37) / 0.015))
    nose = 0.3 * along * np.exp(-0.5 * (x / 0.09) ** 2)
    lips = 0.07 * np.exp(-0.5 * ((x / 0.2) ** 2 + ((y + 0.62) / 0.1) ** 2))
    chin = 0.45 * np.exp(-0.5 * ((x / 0.35) ** 2 + ((y + 1.1) / 0.3) ** 2))
    return skull + nose + lips + chin


def drawn_neutral(mouth_width: float = 0.26) -> np.ndarray:
    """[468 3] float64 dm in the canonical frame, mirror-symmetric curves, 0.9 dm between the eye corners."""
    flat = _relax(_placed(mouth_width))
    verts = np.c_[flat, _depth(flat[:, 0], flat[:, 1])]
    verts[:, 2] -= verts[mesh468.OUTER_EYE_CORNERS, 2].mean()
    return verts
