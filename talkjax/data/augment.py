"""What happens to a voice on its way to the microphone: room, noise, band limits, codec, level.

Made while training, from the clean sound of a corpus; the face does not change, and the sound neither shifts
nor changes its length. Everything random comes from (seed, key, copy), so a run repeats exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from talkjax.data.background_noise import background

SAMPLE_RATE = 16_000
SNR_DB = (5.0, 50.0)
GAIN_DB = (-30.0, 0.0)
REVERB_SHARE, NOISE_SHARE, BAND_SHARE, CODEC_SHARE, DRIFT_SHARE = 0.5, 0.75, 0.4, 0.15, 0.3
_BABBLERS = (3, 7)


def augment(wav: np.ndarray, seed: int, key: str, copy: int, babble: Sequence[np.ndarray] = ()) -> np.ndarray:
    """One altered copy of an utterance.

    Args:
      wav: [n] int16, or float in [-1, 1], 16 kHz.
      seed, key, copy: of the run, the utterance, and which copy of it.
      babble: other utterances' sound (int16 or float, any length); without them no babble is drawn.

    Returns:
      float32 [n] in [-1, 1].
    """
    digest = hashlib.sha256(key.encode()).digest()[:8]
    rng = np.random.default_rng([seed, copy, int.from_bytes(digest, "big")])
    sound = as_float(wav)
    if not len(sound):
        return sound.astype(np.float32)
    if rng.uniform() < REVERB_SHARE:
        sound = reverberate(sound, room_response(rng))
    if rng.uniform() < NOISE_SHARE:
        sound = add_noise(sound, noise(rng, len(sound), babble), rng.uniform(*SNR_DB))
    if rng.uniform() < BAND_SHARE:
        sound = limit_band(sound, rng)
    if rng.uniform() < DRIFT_SHARE:
        sound = sound * _drift(rng, len(sound))
    peak = float(np.abs(sound).max())
    if peak > 0:
        sound = sound * (10 ** (rng.uniform(*GAIN_DB) / 20) / peak)
    if rng.uniform() < CODEC_SHARE:
        sound = mu_law(sound)
    return sound.astype(np.float32)


def as_float(wav: np.ndarray) -> np.ndarray:
    """int16 or float [n] -> float64 in [-1, 1]."""
    return wav.astype(np.float64) / (32768 if wav.dtype == np.int16 else 1)


def room_response(rng: np.random.Generator) -> np.ndarray:
    """A made-up room: direct sound (1, at once), early reflections, a tail that falls by 60 dB in RT60."""
    rt60 = float(np.exp(rng.uniform(np.log(0.1), np.log(0.8))))
    n = int(rt60 * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(n) / n)
    tail = rng.standard_normal(n) * decay
    tail[: int(0.002 * SAMPLE_RATE)] = 0  # nothing comes back sooner than 2 ms
    for at in rng.integers(
        int(0.002 * SAMPLE_RATE), min(int(0.04 * SAMPLE_RATE), n), int(rng.integers(3, 9))
    ):
        tail[at] += rng.choice([-1, 1]) * rng.uniform(2, 8) * decay[at]
    direct_to_room = 10 ** (rng.uniform(0, 20) / 20)
    response = tail / (np.sqrt(np.sum(tail**2)) * direct_to_room)
    response[0] = 1.0
    return np.asarray(response)


def reverberate(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """[n] through a room whose direct path has no delay."""
    return np.asarray(fftconvolve(sound, response)[: len(sound)])


def active_rms(sound: np.ndarray) -> float:
    """RMS over the 20 ms blocks within 30 dB of the loudest: the level of speech without its pauses."""
    blocks = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    if not len(blocks):
        return float(np.sqrt(np.mean(sound**2)))
    power = (blocks**2).mean(1)
    return float(np.sqrt(power[power >= power.max() * 1e-3].mean()))


def add_noise(sound: np.ndarray, unit_noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise of unit RMS so many dB under the speech's level."""
    return sound + unit_noise * (active_rms(sound) * 10 ** (-snr_db / 20))


def noise(rng: np.random.Generator, n: int, babble: Sequence[np.ndarray] = ()) -> np.ndarray:
    """float64 [n] of unit RMS: voices in the background (a third, where there are any) or `background`."""
    if not len(babble) or rng.uniform() > 1 / 3:
        return background(rng, n)
    total = np.zeros(n)
    for _ in range(int(rng.integers(*_BABBLERS))):
        voice = as_float(np.asarray(babble[int(rng.integers(len(babble)))]))
        voice = np.roll(np.resize(voice, n), int(rng.integers(n))) if len(voice) else total
        total = total + voice / max(active_rms(voice), 1e-6)
    return np.asarray(total / max(np.sqrt(np.mean(total**2)), 1e-9))


def limit_band(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Telephone (300-3400 Hz), 8 kHz sampling, a dull or a thin microphone."""
    kind = int(rng.integers(4))
    if kind == 0:
        return _filter(sound, 300, 3400)
    if kind == 1:
        return _filter(sound, None, 3800)
    if kind == 2:
        return _filter(sound, None, rng.uniform(3000, 7000), order=2)
    return _filter(sound, rng.uniform(80, 300), None, order=2)


def _filter(sound: np.ndarray, low: float | None, high: float | None, order: int = 5) -> np.ndarray:
    """Causal Butterworth; at most a millisecond of delay."""
    if low is not None:
        sound = sosfilt(butter(min(order, 3), low, "high", fs=SAMPLE_RATE, output="sos"), sound)
    if high is not None:
        sound = sosfilt(butter(order, high, "low", fs=SAMPLE_RATE, output="sos"), sound)
    return sound


def mu_law(sound: np.ndarray, levels: int = 256) -> np.ndarray:
    """Through an 8-bit mu-law codec (G.711's curve): [-1, 1] -> the nearest of 256 levels."""
    mu = levels - 1
    coded = np.sign(sound) * np.log1p(mu * np.clip(np.abs(sound), 0, 1)) / np.log1p(mu)
    coded = np.round((coded + 1) / 2 * mu) / mu * 2 - 1
    return np.asarray(np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu)


def _drift(rng: np.random.Generator, n: int) -> np.ndarray:
    """[n] gain that wanders by +-6 dB over seconds: the speaker turns, or moves."""
    knots = max(int(n / SAMPLE_RATE / 1.5), 1) + 2
    decibels = np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.uniform(-6, 6, knots))
    return np.asarray(10 ** (decibels / 20))
