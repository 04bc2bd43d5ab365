"""MFCC as python_speech_features makes them, and their windows per video frame (reference.md §1.5)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.numerics import matmul

SAMPLE_RATE = 16_000
FRAME, HOP, N_FFT = 400, 160, 512  # samples: 25 ms, 10 ms
N_FILTERS, N_MFCC, LIFTER = 26, 13, 22
PRE_EMPHASIS = 0.97
PAD = 1920  # zeros put before and after a sentence, 120 ms
WINDOW, STRIDE = 28, 4  # rows that one video frame (40 ms = 4 rows) sees
_EPS = float(np.finfo(np.float64).eps)  # stands in for zero energy before the log


@functools.cache
def mel_filters() -> np.ndarray:
    """[26 257] triangles from 0 to 8000 Hz with corners on FFT bins."""
    mel = np.linspace(0.0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), N_FILTERS + 2)
    corner = np.floor((N_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE)
    left, peak, right = corner[:-2, None], corner[1:-1, None], corner[2:, None]
    bins = np.arange(N_FFT // 2 + 1)
    rising = (bins >= left) & (bins < peak)
    falling = (bins >= peak) & (bins < right)
    return np.where(rising, (bins - left) / (peak - left), 0) + np.where(
        falling, (right - bins) / (right - peak), 0
    )


@functools.cache
def _liftered_dct() -> np.ndarray:
    """[26 13] orthonormal DCT-II times the sinusoidal lifter 1 + 11 sin(pi n / 22)."""
    n, k = np.arange(N_MFCC), np.arange(N_FILTERS)[:, None]
    dct = np.sqrt(2 / N_FILTERS) * np.cos(np.pi * n * (k + 0.5) / N_FILTERS)
    dct[:, 0] /= np.sqrt(2)
    return dct * (1 + LIFTER / 2 * np.sin(np.pi * n / LIFTER))


def n_rows(n_samples: int) -> int:
    """Rows that `mfcc` makes of so many samples; the last one is zero-padded."""
    return 1 + max(0, -(-(n_samples - FRAME) // HOP))


@jax.jit
def mfcc(wav: Float[Array, "*b n"]) -> Float[Array, "*b rows 13"]:
    """Mel-frequency cepstra of 16 kHz sound in [-1, 1]; column 0 is the log energy of the row.

    Row i covers samples [160 i, 160 i + 400), rectangular window, pre-emphasised; no normalisation.
    """
    wav = jnp.asarray(wav, jnp.float32)
    if wav.shape[-1] == 0:
        raise ValueError("mfcc of an empty wav")
    emphasised = jnp.concatenate([wav[..., :1], wav[..., 1:] - PRE_EMPHASIS * wav[..., :-1]], -1)
    rows = n_rows(wav.shape[-1])
    tail = (rows - 1) * HOP + FRAME - wav.shape[-1]
    padded = jnp.pad(emphasised, [(0, 0)] * (wav.ndim - 1) + [(0, tail)])
    return cepstra(padded[..., jnp.arange(rows)[:, None] * HOP + jnp.arange(FRAME)])


def cepstra(frames: Float[Array, "*b 400"]) -> Float[Array, "*b 13"]:
    """One row of `mfcc` per 25 ms of pre-emphasised sound."""
    power = jnp.abs(jnp.fft.rfft(frames, N_FFT)) ** 2 / N_FFT
    mels = matmul(power, jnp.asarray(mel_filters().T, jnp.float32))
    rows = matmul(_log(mels), jnp.asarray(_liftered_dct(), jnp.float32))
    return rows.at[..., 0].set(_log(power.sum(-1)))


def _log(energy: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.log(jnp.where(energy == 0, _EPS, energy))


def n_video_frames(n_samples: int) -> int:
    """Video frames that the reference makes of so many samples, about 25 per second less one."""
    return max(0, n_rows(n_samples + 2 * PAD) // STRIDE - WINDOW // STRIDE + 1)


@functools.partial(jax.jit, static_argnames="n_frames")
def mfcc_windows(wav: Float[Array, "n"], n_frames: int | None = None) -> Float[Array, "t 28 12"]:
    """What the expression network hears for each video frame: 28 rows of cepstra 1 to 12.

    Frame j, shown in [40 j, 40 j + 40) ms, sees rows 4j ... 4j + 27 of the track padded with 120 ms of
    silence on both sides, that is -120 ms ... +160 ms around its start.

    Args:
      wav: 16 kHz sound.
      n_frames: as many frames as wanted, cut or continued in silence; by default `n_video_frames(n)`.
    """
    count = n_video_frames(wav.shape[-1]) if n_frames is None else n_frames
    if count <= 0:
        return jnp.zeros((0, WINDOW, N_MFCC - 1), jnp.float32)
    rows_needed = STRIDE * (count - 1) + WINDOW
    samples_needed = (rows_needed - 1) * HOP + FRAME - PAD
    rows = mfcc(jnp.pad(wav, (PAD, max(PAD, samples_needed - wav.shape[-1]))))[:rows_needed, 1:]
    return rows[jnp.arange(count)[:, None] * STRIDE + jnp.arange(WINDOW)]
