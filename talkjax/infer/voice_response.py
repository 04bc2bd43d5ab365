"""How a person's head answers their voice: a linear response of each series to level and onsets, if any.

Twelve seconds show little of it, so a series only answers where the answer foretells frames that it was not
fitted to, better than answers to the voice at wrong times do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

CENTERS = range(-4, 19, 3)  # frames after the sound: bumps of the response
BUMP = 2.5
STRENGTHS = (10.0, 30.0, 100.0, 300.0)
FOLDS = 6
GAP = 15  # frames left out between fitted and foretold ones
SHIFTS = 24
CONTROL = 90  # percentile of wrong times that the right one must pass
LARGEST_SHARE = 0.1  # of a series' variance: the rest is new with every seed
_SLOW = 40.0  # frames: slower motion is posture and no answer


class VoiceResponse(NamedTuple):
    """weights `[f 6]` from standardised features to series; mean, scale `[f]` of the features; share `[6]` of
    each series' variance, 0 for series that do not answer."""

    weights: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    share: np.ndarray

    def __call__(self, rhythm: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 6"]:
        """The answer to a voice (audio/rhythm.py, 25 fps), in units of the normal series."""
        return (response_features(rhythm) - self.mean) / self.scale @ self.weights


def no_response(n_series: int) -> VoiceResponse:
    n = 2 * len(CENTERS)
    return VoiceResponse(np.zeros((n, n_series)), np.zeros(n), np.ones(n), np.zeros(n_series))


def response_features(rhythm: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t f"]:
    """Level and onsets, each seen through bumps at several delays."""
    lags = np.arange(-30, 31)
    columns = []
    for series in np.asarray(rhythm, np.float64)[:, 1:].T:
        padded = np.pad(series, 30, mode="edge")
        for center in CENTERS:
            bump = np.exp(-0.5 * ((lags - center) / BUMP) ** 2)
            columns.append(np.convolve(padded, bump / bump.sum(), "valid"))
    return np.stack(columns, 1)


def _ridge(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)


def _foretold(x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "s c"]:
    """Share of the variance of frames that were not fitted, for each strength and series."""
    n = len(x)
    edges = np.linspace(0, n, FOLDS + 1).astype(int)
    error = np.zeros((len(STRENGTHS), y.shape[1]))
    for start, end in pairwise(edges):
        fitted = np.ones(n, bool)
        fitted[max(start - GAP, 0) : end + GAP] = False
        middle, level = x[fitted].mean(0), y[fitted].mean(0)
        for k, strength in enumerate(STRENGTHS):
            weights = _ridge(x[fitted] - middle, y[fitted] - level, strength)
            away = y[start:end] - level - (x[start:end] - middle) @ weights
            error[k] += (away**2).sum(0)
    return 1 - error / np.maximum(n * y.var(0), 1e-9)


def fit_voice_response(normal: Float[np.ndarray, "t 6"], rhythm: Float[np.ndarray, "t 3"]) -> VoiceResponse:
    """The response of training frames (25 fps); a series without one that can be foretold does not answer."""
    n = len(normal)
    if n < 6 * FOLDS + 4 * GAP:
        return no_response(normal.shape[1])
    features = response_features(rhythm)
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x, y = (features - mean) / scale, normal - gaussian_filter1d(normal, _SLOW, axis=0)
    right = _foretold(x, y)
    best = right.argmax(0)
    shifts = np.linspace(n // 8, n - n // 8, SHIFTS).astype(int)
    wrong = np.stack([_foretold(np.roll(x, shift, axis=0), y).max(0) for shift in shifts])
    answers = right.max(0) > np.maximum(np.percentile(wrong, CONTROL, axis=0), 0.02)
    weights = np.stack(
        [_ridge(x - x.mean(0), y[:, c] - y[:, c].mean(), STRENGTHS[best[c]]) for c in range(y.shape[1])], 1
    )
    share = np.where(answers, np.minimum(right.max(0), LARGEST_SHARE), 0.0)
    spread = (x @ weights).std(0)
    return VoiceResponse(weights * np.sqrt(share) / np.maximum(spread, 1e-6), mean, scale, share)
