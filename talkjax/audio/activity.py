"""Where someone speaks: an energy gate that sets itself between the clip's noise floor and its peak."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FRAME = 640  # samples of 16 kHz sound per video frame (40 ms)
DIGITAL_SILENCE_DB = -100.0  # nothing but zeros, or one bit of dither now and then
SILENCE_DB = -65.0  # dB of full scale (RMS) under which nothing counts as speech
MIN_RANGE_DB = 8.0  # a clip whose level varies less is one steady noise
DEEPEST_DB = 45.0  # of the floor under the peak: digital silence must not drag the gate into the noise
GATE_SHARE = 0.35  # of the way from floor to peak, in dB


def frame_level(wav: Float[Array, "n"], n_frames: int | None = None) -> Float[Array, "t"]:
    """RMS level in dB of full scale per 40 ms video frame, at least -120; cut or padded to `n_frames`."""
    count = -(-wav.shape[-1] // FRAME) if n_frames is None else n_frames
    fitted = jnp.pad(wav[: count * FRAME], (0, max(0, count * FRAME - wav.shape[-1])))
    power = jnp.mean(jnp.reshape(fitted, (count, FRAME)) ** 2, axis=-1)
    return 10 * jnp.log10(power + 1e-12)


@functools.partial(jax.jit, static_argnames="n_frames")
def speech_activity(wav: Float[Array, "n"], n_frames: int | None = None) -> Bool[Array, "t"]:
    """Whether each 40 ms video frame has speech, for 16 kHz sound in [-1, 1].

    The gate lies 35 % of the way, in dB, from the noise floor to the peak. The floor is the 5th percentile of
    the frames that are not digitally silent, no deeper than 45 dB under the peak (the 95th). A lone frame
    (a click) is dropped, then the frames before and after speech count too, which also closes holes of two.
    A clip of steady level, digital silence or noise alike, has no speech.
    """
    level = frame_level(wav, n_frames)
    if level.shape[0] == 0:
        return jnp.zeros(0, bool)
    sounding = jnp.where(level > DIGITAL_SILENCE_DB, level, jnp.nan)
    low, peak = jnp.nan_to_num(jnp.nanpercentile(sounding, jnp.array([5.0, 95.0])), nan=DIGITAL_SILENCE_DB)
    floor = jnp.maximum(low, peak - DEEPEST_DB)
    gate = jnp.maximum(floor + GATE_SHARE * (peak - floor), SILENCE_DB)
    loud = (level > gate) & (peak - floor > MIN_RANGE_DB)
    speech = loud & _neighbours(loud)
    return speech | _neighbours(speech)


def _neighbours(flags: Bool[Array, "t"]) -> Bool[Array, "t"]:
    """Whether the frame before or after is set."""
    padded = jnp.pad(flags, 1)
    return padded[:-2] | padded[2:]
