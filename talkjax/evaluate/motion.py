"""Figures of head motion, steadiness, blinks and silence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.ndimage import percentile_filter
from scipy.signal import savgol_filter, welch

from talkjax.evaluate.speech import eye_distance, lip_speed
from talkjax.face import mesh468

AXES = ("pitch", "yaw", "roll")
HISTOGRAM_BINS = 20
MOTION_BAND = (0.2, 5.0)
"""Hz: slower is drift of posture that a minute cannot measure, faster is tracker noise, not a head."""

CLOSING_LEVEL, CLOSED_LEVEL = 0.7, 0.5
"""A blink lasts while an eye is open less than the first share of its usual opening around then, and has to
get below the second: lids that follow a look down do not."""

LONGEST_BLINK_S = 0.4
"""A longer closure is a look down or a rest of the eyes, not a blink."""

USUAL_WINDOW_S = 3.0
"""The usual opening is the upper quartile over so long: it changes as the head nods and the gaze falls."""


def second_difference(landmarks: np.ndarray) -> float:
    """Median second difference of the nose-ridge points over time, in eye distances per frame^2."""
    ridge = np.asarray(landmarks, np.float64)[:, mesh468.NOSE_RIDGE, :2]
    second = np.linalg.norm(ridge[2:] - 2 * ridge[1:-1] + ridge[:-2], axis=-1)  # [t-2 n]
    relative = second / eye_distance(np.asarray(landmarks, np.float64))[1:-1, None]
    return float(np.nanmedian(relative)) if np.isfinite(relative).any() else float("nan")


def jitter_ratio(landmarks_real: np.ndarray, landmarks_out: np.ndarray) -> float:
    """`second_difference` of the output over that of the real video, both tracked alike; 1 is natural."""
    real = second_difference(landmarks_real)
    return second_difference(landmarks_out) / real if real > 0 else float("nan")


def histogram_similarity(
    euler_a: np.ndarray, euler_b: np.ndarray, bins: int = HISTOGRAM_BINS
) -> tuple[float, np.ndarray]:
    """(HS, per axis `[3]`): intersection of the pose histograms of `[t 3]` and `[u 3]`.

    The bins span the range of both. HS is the mean over pitch, yaw, roll; 1 for equal distributions, 0 for
    ones that never meet.
    """
    per_axis = []
    for a, b in zip(np.asarray(euler_a).T, np.asarray(euler_b).T, strict=True):
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        if high - low < 1e-9:  # both still, in the same place
            per_axis.append(1.0)
            continue
        share_a = np.histogram(a, bins, (low, high))[0] / len(a)
        share_b = np.histogram(b, bins, (low, high))[0] / len(b)
        per_axis.append(float(np.minimum(share_a, share_b).sum()))
    return float(np.mean(per_axis)), np.array(per_axis)


def std_ratios(euler_out: np.ndarray, euler_real: np.ndarray) -> np.ndarray:
    """Standard deviation of the output's pitch, yaw, roll over the reference's `[3]`."""
    spread = np.asarray(euler_real).std(axis=0)
    return np.where(spread > 1e-9, np.asarray(euler_out).std(axis=0) / np.maximum(spread, 1e-9), np.nan)


def spectrum_distance(euler_a: np.ndarray, euler_b: np.ndarray, fps: float = 25.0) -> float:
    """Log-spectral distance of two motions in dB: rms over axes and 0.2-5 Hz.

    Welch power spectra of the linearly detrended angles with windows of up to 5 s; 0 for equal motion, 6 dB
    where one moves twice as far at every speed. nan for series under 2 s.
    """
    window = min(round(5 * fps), len(euler_a), len(euler_b))
    if window < 2 * fps:
        return float("nan")
    spectra = []
    for euler in (euler_a, euler_b):
        frequency, power = welch(np.asarray(euler, np.float64), fps, nperseg=window, detrend="linear", axis=0)
        spectra.append(10 * np.log10(power + 1e-12))  # (1e-6 rad)^2 / Hz: a still head stays finite
    band = (frequency >= MOTION_BAND[0]) & (frequency <= MOTION_BAND[1])
    return float(np.sqrt(np.mean((spectra[0][band] - spectra[1][band]) ** 2)))


def seed_correlation(motions: Sequence[np.ndarray]) -> float:
    """Largest absolute Pearson correlation of the same angle between any two motions `[t 3]`; nan for one.

    Of unequal lengths, the common beginning counts.
    """
    worst = [
        abs(float(np.corrcoef(a[: len(b)], b[: len(a)])[0, 1]))
        for first, second in combinations(motions, 2)
        for a, b in zip(np.asarray(first).T, np.asarray(second).T, strict=True)
        if a.std() > 1e-9 and b.std() > 1e-9
    ]
    return max(worst, default=float("nan"))


def loop_peak(euler: np.ndarray, fps: float = 25.0, shortest: float = 4.0) -> float:
    """Highest autocorrelation of the three angles together at lags from `shortest` seconds to half the
    length: 1 for a loop, around 0.3 to 0.5 for a minute that never repeats. nan when too short."""
    centered = np.asarray(euler, np.float64) - np.mean(euler, axis=0)
    centered = centered / np.maximum(centered.std(axis=0), 1e-9)
    lags = range(round(shortest * fps), len(centered) // 2 + 1)
    peaks = [float((centered[lag:] * centered[:-lag]).mean()) for lag in lags]
    return max(peaks, default=float("nan"))


def jump_ratio(euler: np.ndarray, reference: np.ndarray) -> float:
    """Largest frame-to-frame change of any angle over the 99.9th percentile of the reference's changes."""
    usual = np.percentile(np.abs(np.diff(np.asarray(reference, np.float64), axis=0)), 99.9, axis=0)
    return float((np.abs(np.diff(euler, axis=0)).max(axis=0) / np.maximum(usual, 1e-9)).max())


def speed_ratios(euler_out: np.ndarray, euler_real: np.ndarray) -> np.ndarray:
    """Root mean square of the output's angular speeds over the reference's `[3]`."""
    speeds = [
        np.sqrt(np.square(np.diff(np.asarray(e, np.float64), axis=0)).mean(0))
        for e in (euler_out, euler_real)
    ]
    return np.where(speeds[1] > 1e-9, speeds[0] / np.maximum(speeds[1], 1e-9), np.nan)


def axis_correlation_distance(euler_out: np.ndarray, euler_real: np.ndarray) -> float:
    """Largest difference of the correlations between angles."""
    return float(np.abs(np.corrcoef(np.asarray(euler_out).T) - np.corrcoef(np.asarray(euler_real).T)).max())


def pose_noise(euler: np.ndarray) -> np.ndarray:
    """High-pass noise of pitch, yaw, roll `[3]` in degrees: std of x - savgol(x, 7 frames, order 2).

    Args:
      euler: `[t 3]` radians, without gaps, t >= 7.
    """
    degrees = np.rad2deg(np.asarray(euler, np.float64))
    return (degrees - savgol_filter(degrees, 7, 2, axis=0)).std(axis=0)


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """Lid gap over eye width, mean of both eyes `[t]`; about 0.3 open, under 0.1 closed."""
    points = np.asarray(landmarks, np.float64)[..., :2]

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=-1)

    return (distance(159, 145) / distance(33, 133) + distance(386, 374) / distance(362, 263)) / 2


def blinks(landmarks: np.ndarray, fps: float = 25.0) -> list[tuple[int, int]]:
    """(first, one past last) frame of each blink: a closure of at most 0.4 s, see `CLOSED_LEVEL`.

    A missing frame (nan) counts as open.
    """
    opening = eye_opening(landmarks)
    if not np.isfinite(opening).any():
        return []
    known = np.where(np.isfinite(opening), opening, np.nanmedian(opening))
    usual = percentile_filter(known, 75, size=round(USUAL_WINDOW_S * fps), mode="nearest")
    # nobody's eyes are usually shut: a long rest of the eyes must not become the measure
    usual = np.maximum(usual, 0.6 * np.percentile(known, 75))
    share = np.where(np.isfinite(opening), opening, np.inf) / np.maximum(usual, 1e-9)
    closing = share < CLOSING_LEVEL
    edges = np.diff(np.concatenate([[0], closing.astype(np.int8), [0]]))
    runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    return [
        (int(start), int(end))
        for start, end in runs
        if end - start <= LONGEST_BLINK_S * fps and share[start:end].min() < CLOSED_LEVEL
    ]


def blink_duration(landmarks: np.ndarray, fps: float = 25.0) -> float:
    """Mean length of the blinks in seconds; nan without any."""
    found = blinks(landmarks, fps)
    return float(np.mean([end - start for start, end in found])) / fps if found else float("nan")


def blink_rate(landmarks: np.ndarray, fps: float = 25.0) -> float:
    """Blinks per minute."""
    return 60 * fps * len(blinks(landmarks, fps)) / len(landmarks) if len(landmarks) else float("nan")


def silence_ratio(landmarks_silence: np.ndarray, landmarks_speech: np.ndarray) -> float:
    """Lip speed while the sound is silent over the lip speed in speech; 0 is a mouth at rest."""
    speech = lip_speed(landmarks_speech)
    return lip_speed(landmarks_silence) / speech if speech > 0 else float("nan")
