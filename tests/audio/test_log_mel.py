"""Log-mel bands against an obvious numpy loop, and where their windows look."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.audio.log_mel import log_mel, log_mel_windows, mel_filters, normalize_bands, row_windows
from tests.audio.test_mfcc import speechlike


def loop(wav: np.ndarray) -> np.ndarray:
    """Row by row, band by band, sample by sample."""
    mel = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
    edges = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(60), mel(7600), 42)]
    out = np.zeros((len(wav) // 160, 40))
    for k in range(len(out)):
        middle = 160 * k + 80
        block = [wav[i] if 0 <= i < len(wav) else 0.0 for i in range(middle - 200, middle + 200)]
        power = np.abs(np.fft.rfft(np.array(block) * np.hanning(400), 512)) ** 2
        for band in range(40):
            low, top, high = edges[band : band + 3]
            hz = np.arange(257) * 31.25
            weight = np.interp(hz, [low, top, high], [0, 1, 0], left=0, right=0)
            out[k, band] = np.log((weight * power).sum() + 1e-7)
    return out


def test_log_mel_is_the_obvious_loop():
    wav = speechlike(4_900)
    got = np.asarray(log_mel(wav))
    assert got.shape == (30, 40)
    np.testing.assert_allclose(got, loop(wav), atol=2e-3)


@pytest.mark.parametrize("hz", [100.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_is_loudest_in_its_band(hz):
    got = np.asarray(log_mel(0.5 * np.sin(2 * np.pi * hz * np.arange(8_000) / 16_000)))
    peak_hz = np.arange(257)[mel_filters().argmax(1)] * 31.25
    assert abs(peak_hz[got[20].argmax()] - hz) <= max(50, 0.08 * hz)


def test_rows_are_centred_on_their_ten_milliseconds():
    wav = np.zeros(16_000, np.float32)
    wav[160 * 40 + 79 : 160 * 40 + 81] = 1.0
    energy = np.asarray(log_mel(wav)).sum(1)
    assert energy.argmax() == 40
    assert energy[39] == pytest.approx(energy[41], rel=1e-4)


def test_normalize_bands_removes_level_and_channel():
    rows = np.asarray(log_mel(speechlike(16_000)))
    got = np.asarray(normalize_bands(rows))
    np.testing.assert_allclose(got, (rows - rows.mean(0)) / (rows.std(0) + 0.1), atol=1e-4)
    np.testing.assert_allclose(normalize_bands(rows + np.linspace(-3, 3, 40)), got, atol=1e-4)
    assert np.abs(np.asarray(normalize_bands(log_mel(np.zeros(8_000))))).max() < 1e-3


def test_windows_surround_their_video_frame():
    rows = jnp.arange(100.0)[:, None]
    got = np.asarray(row_windows(rows, 25, 12))[..., 0]
    assert got.shape == (25, 28)
    np.testing.assert_array_equal(got[10], np.arange(40 - 12, 40 + 4 + 12))
    np.testing.assert_array_equal(got[0], [0] * 12 + list(range(16)))
    np.testing.assert_array_equal(got[-1], [*range(84, 100), *[99] * 12])
    assert row_windows(rows, 30, 0).shape == (30, 4, 1)
    wav = speechlike(16_000)
    full = log_mel_windows(wav, 25)
    assert full.shape == (25, 28, 40)
    np.testing.assert_allclose(full[7], normalize_bands(log_mel(wav))[16:44], atol=1e-4)
    with pytest.raises(ValueError, match="10 ms"):
        log_mel_windows(wav[:100], 3)
