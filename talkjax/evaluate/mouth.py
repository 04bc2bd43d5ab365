"""Figures of a mapping without a picture: its coefficients on the person's model against tracked landmarks.

Quick (no rendering), so every candidate can be judged on many seeds; `evaluate` measures the written video
as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from talkjax.data.coarticulation import BILABIALS
from talkjax.evaluate import speech
from talkjax.face import mesh468
from talkjax.face.points import landmark_vertices
from talkjax.tasks.mapping_targets import CLOSED, lip_opening_axis
from talkjax.types import FaceModel

DIMENSIONS = {
    "jaw": ("jawOpen",),
    "pucker": ("pucker",),
    "stretch": ("stretch_R", "stretch_L"),
    "upper_lip": ("upperUp",),
}
"""The expression axes that matter most for speech."""
SHUT_SHARE = 0.15
"""Of the median opening: below, a bilabial counts as closed."""


def model_opening(model: FaceModel, exp: np.ndarray) -> np.ndarray:
    """`[t]` lip opening over the eye distance, from the front; lips that overlap count as closed."""
    neutral, axis = lip_opening_axis(model)
    return np.maximum(neutral + np.asarray(exp) @ axis, 0.0) / _eye_distance(model)


def model_width(model: FaceModel, exp: np.ndarray) -> np.ndarray:
    """`[t]` distance of the mouth corners over the eye distance."""
    ids = landmark_vertices(model)[[61, 291]]
    points = np.asarray(model.mean)[ids] + np.einsum("te,enc->tnc", exp, np.asarray(model.exp_basis)[:, ids])
    return np.linalg.norm(points[:, 0] - points[:, 1], axis=-1) / _eye_distance(model)


def _eye_distance(model: FaceModel) -> float:
    a, b = np.asarray(model.mean)[landmark_vertices(model)[list(mesh468.OUTER_EYE_CORNERS)]]
    return float(np.linalg.norm(a - b))


def dimension_correlations(
    names: Sequence[str], exp_real: np.ndarray, exp_out: np.ndarray, valid: np.ndarray | None = None
) -> dict[str, float]:
    """r of each of `DIMENSIONS` (sides summed) and their mean."""
    used = np.ones(len(exp_real), bool) if valid is None else np.asarray(valid, bool)
    values = {}
    for label, axes in DIMENSIONS.items():
        index = [names.index(axis) for axis in axes]
        values[label] = speech.pearson(exp_real[used][:, index].sum(1), exp_out[used][:, index].sum(1))
    return {**values, "mean": float(np.mean(list(values.values())))}


def mouth_figures(
    model: FaceModel, exp_out: np.ndarray, landmarks: np.ndarray, exp_real: np.ndarray, valid: np.ndarray
) -> dict[str, Any]:
    """How well predicted expression follows a tracked clip.

    Args:
      exp_out: `[t e]` predicted; exp_real: tracked. landmarks: `[t 478 2+]` px, tracked. valid: `[t]`.
    """
    valid = np.asarray(valid, bool)
    real = np.where(valid, speech.lip_opening(landmarks), np.nan)
    width = np.where(valid, speech.lip_width(landmarks), np.nan)
    out, out_width = model_opening(model, exp_out), model_width(model, exp_out)
    lag, _ = speech.best_lag(real, out)
    neutral, axis = lip_opening_axis(model)
    return {
        "r": speech.pearson(real, out),
        "interval": speech.bootstrap_interval(real, out),
        "control_p99": speech.shift_control(real, out),
        "lag": lag,
        "amplitude": speech.amplitude_ratio(real, out),
        "bias": float(np.nanmean(out - real)),
        "auc_closed": speech.auc(-(neutral + exp_out @ axis)[valid], (real < CLOSED)[valid]),
        "closed_share": [float((real[valid] < CLOSED).mean()), float((out[valid] < CLOSED).mean())],
        "width_r": speech.pearson(width, out_width),
        "dimensions": dimension_correlations(model.exp_names, exp_real, exp_out, valid),
    }


def closed_bilabials(
    opening: np.ndarray, phones: Sequence[tuple[str, float]], first_second: float = 0.0, fps: float = 25.0
) -> tuple[float, int]:
    """(share of m, b, p during which the lips come together, how many there are).

    Args:
      opening: `[t]` lip opening, any unit; frame k covers `first_second + [k, k+1) / fps`.
      phones: (phone, end in seconds) from second 0.
    """
    limit = SHUT_SHARE * float(np.median(opening))
    shut, start = [], 0.0
    for phone, end in phones:
        low, high = (np.floor((s - first_second) * fps + 1e-6) for s in (start, end))
        start = end
        if phone in BILABIALS and low >= 0 and high < len(opening):
            shut.append(opening[int(low) : int(high) + 1].min() < limit)
    return (float(np.mean(shut)) if shut else float("nan")), len(shut)
