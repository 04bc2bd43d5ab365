"""Sound moved against the picture."""

from __future__ import annotations

import numpy as np

SAMPLES = 640  # of 16 kHz sound per video frame


def advance_sound(wav: np.ndarray, frames: float) -> np.ndarray:
    """The sound `frames` earlier (later where negative), of the same length; silence comes in at the other
    end."""
    shift = round(frames * SAMPLES)
    if shift == 0:
        return wav
    out = np.zeros_like(wav)
    if shift > 0:
        out[: max(len(wav) - shift, 0)] = wav[shift:]
    else:
        out[-shift:] = wav[: len(wav) + shift]
    return out
