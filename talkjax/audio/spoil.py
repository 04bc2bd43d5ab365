"""Other rooms, microphones and speakers, made from log-mel rows on the device: training sees each clip anew.

Everything works on natural logs of band power, before `audio.running.normalize_rows`; sounds add as powers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.audio.log_mel import HIGH_HZ, LOW_HZ, N_BANDS

SILENT_ROW = float(np.log(1e-7))
"""What `log_mel` gives for digital silence."""
WARPS = np.linspace(0.85, 1.18, 13)
"""Factors of the speaker's formants: length of the vocal tract, sex, age."""
TELEPHONE_HZ = (300.0, 3400.0)


def band_centers() -> np.ndarray:
    """[40] Hz."""
    low, high = 2595 * np.log10(1 + np.array([LOW_HZ, HIGH_HZ]) / 700)
    return 700 * (10 ** (np.linspace(low, high, N_BANDS + 2)[1:-1] / 2595) - 1)


def warp_matrices() -> Float[np.ndarray, "w 40 40"]:
    """Right factors that move a spectrum along the frequency axis by each of `WARPS`, by interpolation."""
    centers = band_centers()
    mel = np.log10(1 + centers / 700)
    matrices = np.zeros((len(WARPS), N_BANDS, N_BANDS), np.float32)
    for k, warp in enumerate(WARPS):
        place = np.interp(np.log10(1 + centers * warp / 700), mel, np.arange(N_BANDS))
        low = np.minimum(place.astype(int), N_BANDS - 2)
        matrices[k, low, np.arange(N_BANDS)] = 1 - (place - low)
        matrices[k, low + 1, np.arange(N_BANDS)] += place - low
    return matrices


_WARP_MATRICES = warp_matrices()
_ACROSS = np.linspace(-1, 1, N_BANDS, dtype=np.float32)
_SHAPES = np.stack([_ACROSS, np.cos(3 * _ACROSS), np.sin(5 * _ACROSS), np.cos(8 * _ACROSS)])
_BEYOND_TELEPHONE = ~((band_centers() > TELEPHONE_HZ[0]) & (band_centers() < TELEPHONE_HZ[1]))


def spoil_rows(
    key: Array,
    rows: Float[Array, "b r 40"],
    noise: Float[Array, "b r 40"] | None = None,
    strength: float = 1.0,
) -> Float[Array, "b r 40"]:
    """Random speaker, channel, level and background for each sequence.

    Args:
      rows: raw `log_mel` rows.
      noise: rows of another sound (babble, music), mixed in at a random level now and then.
      strength: 1 for general training; less for one person's own recording conditions.
    """
    b = rows.shape[0]
    k = jax.random.split(key, 12)

    def uniform(key: Array, low: float, high: float) -> Array:
        return jax.random.uniform(key, (b, 1, 1), minval=low, maxval=high)

    def chance(key: Array, p: float) -> Array:
        return jax.random.bernoulli(key, p, (b, 1, 1))

    middle = len(WARPS) // 2 - 1
    spread = jax.random.randint(k[0], (b,), 0, len(WARPS)) - middle
    index = jnp.clip(middle + jnp.round(strength * spread).astype(int), 0, len(WARPS) - 1)
    rows = jnp.einsum("brc,bcd->brd", rows, jnp.asarray(_WARP_MATRICES)[index])
    level = jnp.log(jnp.mean(jnp.sum(jnp.exp(rows), -1, keepdims=True), (1, 2), keepdims=True) + 1e-4)
    tilt = jax.random.normal(k[1], (b, 4)) @ jnp.asarray(_SHAPES * [[0.8], [0.5], [0.4], [0.3]])
    rows = rows + strength * tilt[:, None]
    if noise is not None:
        other = jnp.log(jnp.mean(jnp.sum(jnp.exp(noise), -1, keepdims=True), (1, 2), keepdims=True) + 1e-4)
        mixed = jnp.logaddexp(rows, noise - other + level - uniform(k[2], 1.2, 6.0))
        rows = jnp.where(chance(k[3], 0.3 * strength), mixed, rows)
    rows = jnp.where(chance(k[4], 0.12 * strength) & jnp.asarray(_BEYOND_TELEPHONE), SILENT_ROW, rows)
    color = jax.random.normal(k[5], (b, 4)) @ jnp.asarray(_SHAPES * [[1.2], [1.0], [0.7], [0.5]])
    grain = 0.6 * jnp.log(jax.random.exponential(k[6], rows.shape) + 1e-3)
    hiss = level - np.log(N_BANDS) - uniform(k[7], 1.5, 13.0) + color[:, None] + grain
    rows = jnp.where(chance(k[8], 0.75), jnp.logaddexp(rows, hiss), rows)
    return rows + strength * uniform(k[9], -3.5, 3.5)  # 15 dB up or down


def hide_bands(key: Array, rows: Float[Array, "b r 40"]) -> Float[Array, "b r 40"]:
    """After normalisation: up to seven neighbouring bands set to zero, and a little noise."""
    b = rows.shape[0]
    k = jax.random.split(key, 3)
    band = jnp.arange(N_BANDS)[None, None]
    start = jax.random.randint(k[0], (b, 1, 1), 0, N_BANDS)
    width = jax.random.randint(k[1], (b, 1, 1), 0, 8)
    hidden = (band >= start) & (band < start + width)
    return jnp.where(hidden, 0.0, rows) + 0.1 * jax.random.normal(k[2], rows.shape)
