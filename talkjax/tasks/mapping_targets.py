"""What a person's mapping learns: standardised coefficients, and what they do to the lips.

A coefficient matters as much as it moves the mouth, so the losses look at lip points too. Depth counts
little: no single camera shows how far lips stand out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from talkjax.face import mesh468
from talkjax.face.points import landmark_vertices
from talkjax.types import FaceModel

# Points of the mouth and jaw whose motion the lip losses see.
LIP_POINTS = np.array([13, 14, 61, 291, 0, 17, 78, 308, 152, 40, 270, 91, 321])
DEPTH_WEIGHT = 0.3
CLOSED = 0.01
"""Lips count as closed below this share of the distance between the outer eye corners."""
PAPER_Z_OFFSET = 0.5
"""What the reference subtracts from the z translation of its own crops (reference.md §3.2), decimetres."""


class Targets(NamedTuple):
    """What standardises a person's coefficients, and what a unit of each does to the lips.

    mean, scale: `[e + 6]` of (expression, pose). lips: `[e 3k]` dm per standardised expression unit. gap:
    `[e]` dm of lip opening (13 above 14) likewise; gap_mean: dm at the mean expression; gap_scale: its
    spread in training.
    closer: `[e]` standardised expression change that opens the lips by 1 dm, as this person opens them.
    closed_gap: dm, usual (signed) opening of the closed lips. relative: 1 where pose is predicted as
      differences.
    """

    mean: np.ndarray
    scale: np.ndarray
    lips: np.ndarray
    gap: np.ndarray
    gap_mean: np.ndarray
    gap_scale: np.ndarray
    closer: np.ndarray
    closed_gap: np.ndarray
    relative: np.ndarray

    @property
    def n_exp(self) -> int:
        return len(self.lips)


def lip_opening_axis(model: FaceModel) -> tuple[float, np.ndarray]:
    """(dm of the neutral, dm per unit of each expression coefficient `[e]`): upper inner lip above the
    lower."""
    verts = landmark_vertices(model)[[mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER]]
    neutral = np.asarray(model.mean)[verts, 1]
    basis = np.asarray(model.exp_basis)[:, verts, 1]
    return float(neutral[0] - neutral[1]), basis[:, 0] - basis[:, 1]


def relative_pose(pose: np.ndarray) -> np.ndarray:
    """`[t 6]` -> frame-to-frame differences, the first 0 (the reference's `relativeframe 1`)."""
    return np.diff(pose, axis=0, prepend=pose[:1])


def fit_targets(
    exp_coeffs: np.ndarray,
    pose: np.ndarray,
    model: FaceModel,
    closed: np.ndarray | None = None,
    *,
    paper: bool = False,
    relative: bool = False,
) -> Targets:
    """Statistics of the training frames.

    Args:
      exp_coeffs: `[t e]`. pose: `[t 6]` euler and translation.
      closed: `[t]` bool, frames with closed lips; by default the tenth with the least opening.
      paper: pose stays in radians and decimetres, less the z offset: the reference's 0.5 on its own crops,
        here the
        clip's mean place (a face elsewhere would ask the last layer for a bias that 1,700 steps cannot
        reach).
      relative: pose as frame-to-frame differences.
    """
    n = exp_coeffs.shape[1]
    shown = relative_pose(pose) if relative else pose
    values = np.concatenate([exp_coeffs, shown], axis=1)
    # A floor keeps axes that the clip hardly uses from turning noise into a target.
    floor = np.r_[
        np.full(n, 0.02), np.full(3, 0.0005 if relative else 0.005), np.full(3, 0.002 if relative else 0.02)
    ]
    mean, scale = values.mean(0), values.std(0) + floor
    if paper:
        mean[n : n + 3], scale[n:] = 0.0, 1.0
        if relative:
            mean[n:] = 0.0
    basis = np.asarray(model.exp_basis)[:, landmark_vertices(model)[LIP_POINTS]]
    lips = (basis * [1, 1, DEPTH_WEIGHT]).reshape(n, -1) * scale[:n, None]
    neutral, axis = lip_opening_axis(model)
    gap = neutral + exp_coeffs @ axis
    if closed is None or not closed.any():
        closed = gap <= np.quantile(gap, 0.1)
    centred = (exp_coeffs - mean[:n]) / scale[:n]
    along = centred.T @ (gap - gap.mean())
    closer = along / max(float((axis * scale[:n]) @ along), 1e-9)
    numbers = (
        mean,
        scale,
        lips,
        axis * scale[:n],
        neutral + mean[:n] @ axis,
        gap.std() + 1e-3,
        closer,
        np.median(gap[closed]),
        float(relative),
    )
    return Targets(*(np.asarray(x, np.float32) for x in numbers))
