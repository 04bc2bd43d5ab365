"""Figures of head motion, steadiness, blinks and silence."""

from __future__ import annotations

import numpy as np
from scipy.signal import savgol_filter, welch

from talkjax.evaluate.speech import eye_distance, lip_speed
from talkjax.face import mesh468

AXES = ("pitch", "yaw", "roll")
HISTOGRAM_BINS = 20
MOTION_BAND = (0.2, 5.0)
"""Hz: slower is drift of posture that a minute cannot measure, faster is tracker noise, not a head."""

BLINK_LEVEL = 0.6
"""An eye counts as closed below this share of its own usual opening."""

LONGEST_BLINK_S = 0.5
"""A longer closure is a look down or a closed eye, not a blink."""


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
    """(first, one past last) frame of each blink: at most half a second below 0.6 of the usual opening."""
    opening = eye_opening(landmarks)
    if not np.isfinite(opening).any():
        return []
    # the upper quartile is "open" even for someone who looks down half of the time
    closed = opening < BLINK_LEVEL * np.nanpercentile(opening, 75)
    edges = np.diff(np.concatenate([[0], closed.astype(np.int8), [0]]))
    runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    return [(int(start), int(end)) for start, end in runs if end - start <= LONGEST_BLINK_S * fps]


def blink_rate(landmarks: np.ndarray, fps: float = 25.0) -> float:
    """Blinks per minute."""
    return 60 * fps * len(blinks(landmarks, fps)) / len(landmarks) if len(landmarks) else float("nan")


def silence_ratio(landmarks_silence: np.ndarray, landmarks_speech: np.ndarray) -> float:
    """Lip speed while the sound is silent over the lip speed in speech; 0 is a mouth at rest."""
    speech = lip_speed(landmarks_speech)
    return lip_speed(landmarks_silence) / speech if speech > 0 else float("nan")
