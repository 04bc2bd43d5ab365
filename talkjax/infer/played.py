"""How a clip is played as long as needed."""

from __future__ import annotations

import numpy as np


def ping_pong(n_out: int, n_clip: int, start: int = 0) -> np.ndarray:
    """Frame numbers `[n_out]` that play a clip forth and back without repeating the turning frames."""
    if n_clip < 2:
        return np.zeros(n_out, np.int64)
    period = 2 * (n_clip - 1)
    phase = (np.arange(n_out) + start) % period
    return np.where(phase < n_clip, phase, period - phase)


def clip_start(seed: int, n_clip: int) -> int:
    """Where the replay of the clip begins: its first frame for seed 0."""
    return int(np.random.default_rng(seed).integers(0, n_clip)) if seed else 0
