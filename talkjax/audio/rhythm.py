"""The rhythm of a voice as heads feel it: is someone speaking, how loud, and where syllables begin."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.audio.activity import frame_level, speech_activity

FEATURES = 3
_FLOOR_DB, _RANGE_DB = -45.0, 45.0  # relative to the voice's peak level
_TAPS = (0.25, 0.5, 0.25)


@functools.partial(jax.jit, static_argnames="n_frames")
def voice_rhythm(wav: Float[Array, "n"], n_frames: int) -> Float[Array, "t 3"]:
    """Activity, level and onset of 16 kHz sound in [-1, 1], per 40 ms video frame, each in [0, 1].

    Activity is the speech gate. Level is the loudness in dB, 45 dB under the 95th percentile to the
    percentile itself, zero outside speech: no matter how loud the recording is, or its room. Onset is the
    rise of the smoothed level per frame, times 3.
    """
    active = speech_activity(wav, n_frames).astype(jnp.float32)
    level_db = frame_level(wav, n_frames)
    peak = jnp.percentile(level_db, 95.0)
    level = jnp.clip((level_db - peak - _FLOOR_DB) / _RANGE_DB, 0, 1) * active
    smooth = jnp.convolve(jnp.pad(level, 1, mode="edge"), jnp.array(_TAPS), mode="valid")
    onset = jnp.clip(3 * jnp.diff(smooth, prepend=smooth[:1]), 0, 1)
    return jnp.stack([active, level, onset], -1)


def pooled_rhythm(rhythm: Float[np.ndarray, "*b t 3"]) -> Float[np.ndarray, "*b t 3"]:
    """The rhythm around each frame, for those who look at every third one: mean activity and level of three
    frames, and the sum of their onsets, at most 1."""
    pad = [(0, 0)] * (rhythm.ndim - 2) + [(1, 1), (0, 0)]
    padded = np.pad(np.asarray(rhythm), pad, mode="edge")
    summed = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return np.minimum(summed * np.array([1 / 3, 1 / 3, 1.0], summed.dtype), 1)
