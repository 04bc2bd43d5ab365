"""Sound without speech: coloured noise, mains hum, chords, with swells and clicks."""

from __future__ import annotations

import itertools

import numpy as np

SAMPLE_RATE = 16_000


def background(rng: np.random.Generator, n: int) -> np.ndarray:
    """float64 [n] of unit RMS: coloured noise, hum, or chords; sometimes with clicks and swells."""
    t = np.arange(n) / SAMPLE_RATE
    kind = int(rng.integers(4))
    if kind < 2:
        shape = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20.0) ** (-rng.uniform(0, 2) / 2)
        phases = rng.standard_normal((2, len(shape)))
        wav = np.fft.irfft(shape * (phases[0] + 1j * phases[1]), n)
    elif kind == 2:
        base = rng.choice([50.0, 60.0]) * rng.uniform(0.99, 1.01)
        wav = sum(
            rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6)) for k in range(1, 9)
        ) + 0.05 * rng.standard_normal(n)
    else:
        wav = np.zeros(n)
        for start in itertools.accumulate(rng.uniform(0.1, 0.6, 40)):
            since = t - start
            note = 110 * 2 ** (int(rng.integers(0, 36)) / 12)
            on = since > 0
            wav[on] += np.sin(2 * np.pi * note * since[on]) * np.exp(-since[on] / rng.uniform(0.1, 0.8))
        wav = wav + 0.01 * rng.standard_normal(n)
    if rng.uniform() < 0.3:
        wav = wav * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 3) * t + rng.uniform(0, 6)))
    if rng.uniform() < 0.2:
        for at in rng.integers(0, n, 5):
            wav[at : at + 40] += rng.normal(0, 6 * wav.std()) * np.hanning(40)[: len(wav[at : at + 40])]
    return np.asarray(wav / max(np.sqrt(np.mean(wav**2)), 1e-9))
