"""Rooms, noises, bands, codecs: each does what its numbers say; nothing shifts in time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from talkjax.data import augment as aug
from talkjax.data.background_noise import background
from talkjax.data.synthetic_voice import load_voice

RATE = aug.SAMPLE_RATE


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return np.asarray(load_voice("voice_drive").wav, np.float64)


def _power(sound: np.ndarray, low: float, high: float) -> float:
    hz, density = welch(sound, RATE, nperseg=1024)
    return float(density[(hz >= low) & (hz < high)].sum())


def test_a_copy_repeats_and_others_differ(voice):
    first = aug.augment(voice, 1, "a", 0, [voice])
    np.testing.assert_array_equal(first, aug.augment(voice, 1, "a", 0, [voice]))
    for other in ((2, "a", 0), (1, "b", 0), (1, "a", 1)):
        assert not np.array_equal(first, aug.augment(voice, *other, [voice]))


def test_copies_keep_length_range_and_timing(voice):
    wav = np.round(voice * 32767).astype(np.int16)
    lags, peaks = [], []
    for copy in range(24):
        made = aug.augment(wav, 0, "k", copy, [wav])
        assert made.shape == wav.shape and made.dtype == np.float32
        peaks.append(float(np.abs(made).max()))
        spectrum = np.fft.rfft(made, 2 * len(wav)) * np.conj(np.fft.rfft(voice, 2 * len(wav)))
        across = np.fft.irfft(spectrum)
        lags.append((int(np.argmax(across)) + len(wav)) % (2 * len(wav)) - len(wav))
    assert max(peaks) <= 1.01
    assert 10 ** (-31 / 20) < min(peaks) < 0.2 < max(peaks)
    assert np.abs(lags).max() <= 0.01 * RATE  # a filter's delay, or an early reflection that is louder


def test_silence_and_nothing_stay_finite():
    assert np.isfinite(aug.augment(np.zeros(8000, np.int16), 0, "k", 1)).all()
    assert len(aug.augment(np.zeros(0, np.int16), 0, "k", 0)) == 0


@pytest.mark.parametrize("snr", [5.0, 20.0])
def test_noise_is_as_loud_as_asked(voice, snr):
    made = aug.add_noise(voice, aug.noise(np.random.default_rng(1), len(voice), [voice]), snr)
    added = np.sqrt(np.mean((made - voice) ** 2))
    active = np.sqrt(np.mean(voice[np.abs(voice) > 0.02] ** 2))  # a cruder level, near the active one
    assert 20 * np.log10(active / added) == pytest.approx(snr, abs=4.0)


def test_backgrounds_have_unit_rms_and_differ_in_color():
    slopes = []
    for seed in range(12):
        sound = background(np.random.default_rng(seed), 2 * RATE)
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(1.0)
        slopes.append(10 * np.log10(_power(sound, 100, 500) / _power(sound, 3000, 3400)))
    assert np.ptp(slopes) > 10  # dB


def test_room_starts_with_the_direct_sound_and_decays():
    for seed in range(5):
        response = aug.room_response(np.random.default_rng(seed))
        assert response[0] == 1.0 and not response[1:30].any()
        energy = np.cumsum(response[::-1] ** 2)[::-1][64:]  # Schroeder
        n = len(response)
        assert 10 * np.log10(energy[int(0.75 * n) - 64] / energy[0]) < -30
    impulse = np.zeros(100)
    impulse[7] = 1.0
    assert aug.reverberate(impulse, response)[7] == pytest.approx(1.0, abs=1e-6)


def test_telephone_band():
    rng = np.random.default_rng(0)
    while int(np.random.default_rng(int(seed := rng.integers(1000))).integers(4)) != 0:
        pass
    noise = rng.standard_normal(4 * RATE)
    made = aug.limit_band(noise, np.random.default_rng(int(seed)))
    assert _power(made, 500, 3000) == pytest.approx(_power(noise, 500, 3000), rel=0.2)
    assert _power(made, 20, 120) < 0.05 * _power(noise, 20, 120)
    assert _power(made, 4500, 8000) < 0.02 * _power(noise, 4500, 8000)


def test_mu_law_is_g711_like():
    x = np.linspace(-1, 1, 4001)
    y = aug.mu_law(x)
    assert len(np.unique(np.round(y, 9))) <= 256
    assert np.abs(y - x).max() < 0.03
    small = np.abs(x) < 0.01
    assert np.abs(y - x)[small].max() < 0.0005  # finer where it is quiet
