"""Figures of lip movement: opening and width series, correlation, lag, amplitude, shift control, LMD.

Landmarks are `[t 478 2+]` px, tracked on both videos by the same tracker; a frame without a face is a row of
nan and drops out of every figure.
"""

from __future__ import annotations

import numpy as np

from talkjax.face import mesh468

MAX_LAG = 8
"""Frames to both sides that the lag is searched in."""

BLOCK_FRAMES = 25
"""Length of the bootstrap's blocks: 1 s, beyond the memory of lip movement."""

MIN_SHIFT = 25
"""Shortest circular shift of the control, frames: 1 s at 25 fps, beyond the memory of lip movement."""


def eye_distance(landmarks: np.ndarray) -> np.ndarray:
    """Distance of the outer eye corners (33-263) per frame, px `[t]`: the unit of length."""
    a, b = mesh468.OUTER_EYE_CORNERS
    return np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1)


def _ratio(landmarks: np.ndarray, a: int, b: int) -> np.ndarray:
    landmarks = np.asarray(landmarks, np.float64)
    return np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1) / eye_distance(landmarks)


def lip_opening(landmarks: np.ndarray) -> np.ndarray:
    """Distance of the inner lips (13-14) over the eye distance `[t]`."""
    return _ratio(landmarks, mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER)


def lip_width(landmarks: np.ndarray) -> np.ndarray:
    """Distance of the mouth corners (61-291) over the eye distance `[t]`."""
    return _ratio(landmarks, 61, 291)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the frames where both are finite; nan for fewer than 3 of them or a constant series."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return float("nan")
    x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 1e-12 else float("nan")


def lag_curve(real: np.ndarray, out: np.ndarray, max_lag: int = MAX_LAG) -> tuple[np.ndarray, np.ndarray]:
    """(lags `[2 max_lag + 1]` in frames, correlation at each). A positive lag means that `out` is late."""
    n = len(real)
    lags = range(-max_lag, max_lag + 1)
    values = [
        pearson(real[max(0, -lag) : n - max(0, lag)], out[max(0, lag) : n + min(0, lag)]) for lag in lags
    ]
    return np.array(lags), np.array(values)


def best_lag(real: np.ndarray, out: np.ndarray, max_lag: int = MAX_LAG) -> tuple[int, float]:
    """(lag of the highest correlation, that value); of equals the nearest to 0. (0, nan) without data."""
    lags, values = lag_curve(real, out, max_lag)
    if not np.isfinite(values).any():
        return 0, float("nan")
    best = np.nanmax(values)
    lag = min((int(lag) for lag, value in zip(lags, values, strict=True) if value >= best - 1e-12), key=abs)
    return lag, float(best)


def amplitude_ratio(real: np.ndarray, out: np.ndarray) -> float:
    """Standard deviation of `out` over that of `real`, on the frames where both are finite."""
    both = np.isfinite(real) & np.isfinite(out)
    if both.sum() < 3 or real[both].std() < 1e-12:
        return float("nan")
    return float(out[both].std() / real[both].std())


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative; nan without both."""
    positive = np.asarray(positive, bool)
    n = int(positive.sum())
    if n == 0 or n == len(positive):
        return float("nan")
    order = np.argsort(score, kind="stable")
    ordered = np.asarray(score)[order]
    ranks = np.empty(len(ordered))
    _, first, counts = np.unique(ordered, return_index=True, return_counts=True)
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def bootstrap_interval(
    real: np.ndarray, out: np.ndarray, block: int = BLOCK_FRAMES, draws: int = 1000
) -> tuple[float, float]:
    """5th and 95th percentile of r over resampled blocks of frames: what another such clip might have given.

    Blocks keep neighbouring frames together, which are alike; nan for clips shorter than two blocks.
    """
    n = len(real)
    if n < 2 * block:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n - block + 1, (draws, -(-n // block)))
    values = []
    for row in starts:
        index = (row[:, None] + np.arange(block)).reshape(-1)[:n]
        values.append(pearson(real[index], out[index]))
    low, high = np.nanpercentile(values, [5, 95])
    return float(low), float(high)


def shift_control(
    real: np.ndarray, out: np.ndarray, min_shift: int = MIN_SHIFT, percentile: float = 99.0
) -> float:
    """Percentile of the correlation over all circular shifts of at least `min_shift` frames either way.

    What two unrelated stretches of the same speaker score; nan for series shorter than two shifts.
    """
    shifts = range(min_shift, len(real) - min_shift + 1)
    values = np.array([pearson(real, np.roll(out, shift)) for shift in shifts])
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percentile)) if len(values) else float("nan")


def align_similarity(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`source` `[t n 2]` moved onto `target` `[t n 2]` by the least-squares similarity of their `points`.

    In the plane a similarity is z -> a z + b over complex numbers, so the fit is one division.
    """
    moving = source[..., 0] + 1j * source[..., 1]
    fixed = target[..., 0] + 1j * target[..., 1]
    moving_mean = moving[..., points].mean(axis=-1, keepdims=True)
    fixed_mean = fixed[..., points].mean(axis=-1, keepdims=True)
    centred = moving[..., points] - moving_mean
    scale = (centred.conj() * (fixed[..., points] - fixed_mean)).sum(axis=-1, keepdims=True)
    scale = scale / np.maximum((np.abs(centred) ** 2).sum(axis=-1, keepdims=True), 1e-12)
    moved = scale * (moving - moving_mean) + fixed_mean
    return np.stack([moved.real, moved.imag], axis=-1)


def lip_landmark_distance(landmarks_real: np.ndarray, landmarks_out: np.ndarray) -> np.ndarray:
    """Mean distance of the 80 lip points per frame `[t]`, in eye-corner distances of the real frame.

    After a similarity fit of the output onto the real frame on eyes, forehead and nose ridge, so that head
    position, roll and size do not count.
    """
    real = np.asarray(landmarks_real, np.float64)[..., : mesh468.N_MESH, :2]
    out = np.asarray(landmarks_out, np.float64)[..., : mesh468.N_MESH, :2]
    moved = align_similarity(out, real, mesh468.STABLE)
    distance = np.linalg.norm(moved[..., mesh468.LIPS, :] - real[..., mesh468.LIPS, :], axis=-1)
    return distance.mean(axis=-1) / eye_distance(real)


def lip_speed(landmarks: np.ndarray) -> float:
    """Mean movement of the lip points between frames relative to the head, in eye distances per frame."""
    points = np.asarray(landmarks, np.float64)[:, : mesh468.N_MESH, :2]
    moved = align_similarity(points[1:], points[:-1], mesh468.STABLE)
    step = np.linalg.norm(moved[:, mesh468.LIPS] - points[:-1, mesh468.LIPS], axis=-1).mean(axis=-1)
    step = step / eye_distance(points[:-1])
    return float(np.nanmean(step)) if np.isfinite(step).any() else float("nan")
