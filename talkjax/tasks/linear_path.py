"""Ridge regression from log-mel windows to standardised coefficients: strong on a few hundred frames
(speech.md)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def fit_linear_path(
    windows: Float[np.ndarray, "t rows bands"], target: Float[np.ndarray, "t o"], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression from windows to standardised targets: weights `[rows bands o]`, bias `[o]`."""
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    center, mean = flat.mean(0), target.mean(0)
    x = flat - center
    # as many unknowns as equations or more: solve in the space of frames (same answer, smaller system)
    if len(x) <= x.shape[1]:
        weights = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), target - mean)
    else:
        weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (target - mean))
    bias = mean - center @ weights
    return weights.reshape(*windows.shape[1:], -1).astype(np.float32), bias.astype(np.float32)


def apply_linear_path(
    windows: Float[np.ndarray, "t rows bands"], path: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Predictions `[t o]`."""
    weights, bias = path
    return windows.reshape(len(windows), -1) @ weights.reshape(-1, weights.shape[-1]) + bias
