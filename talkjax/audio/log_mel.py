"""Log-mel bands at 100 rows per second, and their windows per video frame (speech.md, recipe)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.numerics import matmul

SAMPLE_RATE = 16_000
FRAME, HOP, N_FFT = 400, 160, 512  # samples: 25 ms, 10 ms
N_BANDS, LOW_HZ, HIGH_HZ = 40, 60.0, 7600.0
ROWS_PER_VIDEO_FRAME = 4
FLOOR = 1e-7


@functools.cache
def mel_filters() -> np.ndarray:
    """[40 257] triangles, peak 1, with corners equally spaced in mel between 60 and 7600 Hz."""
    low, high = 2595 * np.log10(1 + np.array([LOW_HZ, HIGH_HZ]) / 700)
    mel = np.linspace(low, high, N_BANDS + 2)
    corner = 700 * (10 ** (mel / 2595) - 1)
    left, peak, right = corner[:-2, None], corner[1:-1, None], corner[2:, None]
    hz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    return np.maximum(0, np.minimum((hz - left) / (peak - left), (right - hz) / (right - peak)))


@jax.jit
def log_mel(wav: Float[Array, "n"]) -> Float[Array, "rows 40"]:
    """Natural log of mel band energies of 16 kHz sound in [-1, 1]; n // 160 rows.

    Row k is centred at (k + .5) * 10 ms, so rows 4j ... 4j + 3 tile video frame j. Zeros surround the sound.
    """
    wav = jnp.asarray(wav, jnp.float32)
    rows = wav.shape[-1] // HOP
    padded = jnp.pad(wav, (FRAME // 2 - HOP // 2, FRAME))
    return log_mel_frames(padded[jnp.arange(rows)[:, None] * HOP + jnp.arange(FRAME)])


def log_mel_frames(frames: Float[Array, "*b 400"]) -> Float[Array, "*b 40"]:
    """One row of `log_mel` per 25 ms of sound."""
    spectrum = jnp.fft.rfft(frames * jnp.asarray(np.hanning(FRAME), jnp.float32), N_FFT)
    bands = matmul(jnp.abs(spectrum) ** 2, jnp.asarray(mel_filters().T, jnp.float32))
    return jnp.log(bands + FLOOR)


def normalize_bands(rows: Float[Array, "*b rows c"]) -> Float[Array, "*b rows c"]:
    """(x - mean) / (sd + 0.1) per clip and band: removes level and channel, keeps silence calm."""
    centred = rows - rows.mean(-2, keepdims=True)
    return centred / (rows.std(-2, keepdims=True) + 0.1)


def row_windows(rows: Float[Array, "rows c"], n_frames: int, context_rows: int = 12) -> Float[Array, "t w c"]:
    """Rows 4j - context ... 4j + 3 + context for each video frame j; w = 2 * context + 4.

    Before the first and after the last row these repeat (a silent row would look like a sudden stop).
    """
    if rows.shape[0] == 0:
        raise ValueError("windows of no rows: the wav is shorter than 10 ms")
    width = 2 * context_rows + ROWS_PER_VIDEO_FRAME
    index = jnp.arange(n_frames)[:, None] * ROWS_PER_VIDEO_FRAME + jnp.arange(width) - context_rows
    return rows[jnp.clip(index, 0, rows.shape[0] - 1)]


@functools.partial(jax.jit, static_argnames=("n_frames", "context_rows"))
def log_mel_windows(wav: Float[Array, "n"], n_frames: int, context_rows: int = 12) -> Float[Array, "t w 40"]:
    """Normalised log-mel rows around each 40 ms video frame of 16 kHz sound; w = 2 * context_rows + 4.

    The default of 12 rows sees 120 ms to each side, where a ridge on one speaker did best (speech.md).
    """
    return row_windows(normalize_bands(log_mel(wav)), n_frames, context_rows)
