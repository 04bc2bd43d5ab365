"""A strong generator of head motion without a network: vector autoregression on the normal series.

The decoder (`nets/motion_decoder.py`) is compared with it (`tests/benchmarks/bench_motion.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.infer.head_style import KEY_STRIDE

ORDER = 8
_RIDGE = 2.0
_LARGEST_ROOT = 0.985
_BURN_IN = 200


class Autoregression(NamedTuple):
    """x_t = sum_p weights[p] x_(t-1-p) + noise; keys of 3 frames. weights `[p 6 6]`, root `[6 6]` with
    root root' the noise's covariance, scale `[6]` to unit spread."""

    weights: np.ndarray
    root: np.ndarray
    scale: np.ndarray


def fit_autoregression(normal: Float[np.ndarray, "t 6"], order: int = ORDER) -> Autoregression:
    """Ridge regression on the training frames (25 fps), all phases of the keys together."""
    reach = order * KEY_STRIDE
    past = [normal[reach - (p + 1) * KEY_STRIDE : len(normal) - (p + 1) * KEY_STRIDE] for p in range(order)]
    x, y = np.concatenate(past, 1), normal[reach:]
    # far lags are trusted less
    penalty = _RIDGE * np.repeat(1.0 + np.arange(order), normal.shape[1])
    weights = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y)
    noise = y - x @ weights
    covariance = noise.T @ noise / len(noise) + 1e-6 * np.eye(normal.shape[1])
    lagged = weights.reshape(order, normal.shape[1], -1).swapaxes(1, 2)
    lagged = _stable(lagged)
    model = Autoregression(lagged, np.linalg.cholesky(covariance), np.ones(normal.shape[1]))
    spread = simulate(model, 6000, np.random.default_rng(0)).std(0)
    return model._replace(scale=1 / spread)


def _stable(weights: np.ndarray) -> np.ndarray:
    """Shrinks the weights until every mode decays."""
    order, size, _ = weights.shape
    companion = np.eye(order * size, k=-size)
    companion[:size] = weights.swapaxes(0, 1).reshape(size, -1)
    largest = np.abs(np.linalg.eigvals(companion)).max()
    shrink = min(_LARGEST_ROOT / largest, 1.0)
    return weights * shrink ** (1 + np.arange(order))[:, None, None]


def simulate(model: Autoregression, n_keys: int, rng: np.random.Generator) -> Float[np.ndarray, "k 6"]:
    """Normal series at `n_keys` keys."""
    order, size, _ = model.weights.shape
    flat = model.weights.swapaxes(0, 1).reshape(size, -1)
    noise = rng.standard_normal((n_keys + _BURN_IN, size)) @ model.root.T
    past, out = np.zeros((order, size)), np.empty((n_keys + _BURN_IN, size))
    for k in range(len(out)):
        out[k] = flat @ past.ravel() + noise[k]
        past = np.concatenate([out[k : k + 1], past[:-1]])
    return out[_BURN_IN:] * model.scale
