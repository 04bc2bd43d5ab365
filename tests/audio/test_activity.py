"""The speech gate on made signals whose speech is known, and its indifference to level and noise."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.audio.activity import frame_level, speech_activity
from tests.audio.test_mfcc import speechlike, voice

SPANS = [(25, 60), (80, 110)]  # video frames that hold speech, of 150


def sentence() -> np.ndarray:
    """Six seconds with two stretches of 4 Hz syllables, zeros elsewhere."""
    wav = np.zeros(150 * 640, np.float32)
    for begin, end in SPANS:
        t = np.arange((end - begin) * 640) / 16_000
        syllables = 0.15 + 0.85 * np.abs(np.sin(2 * np.pi * 2 * t))
        wav[begin * 640 : end * 640] = speechlike(len(t), begin, pauses=False) * syllables
    return wav


def truth() -> np.ndarray:
    return np.array([any(a <= k < b for a, b in SPANS) for k in range(150)])


def noise(level: float) -> np.ndarray:
    return np.random.default_rng(4).normal(0, level, 150 * 640).astype(np.float32)


@pytest.mark.parametrize("gain", [1.0, 0.03])
@pytest.mark.parametrize(
    "floor", [0.0, 1e-5, 1e-3, 1e-2], ids=["digital silence", "-100 dB", "-60 dB", "-40 dB"]
)
def test_finds_speech_in_silence_and_in_noise(gain, floor):
    got = np.asarray(speech_activity(gain * (sentence() + noise(floor))))
    assert got.dtype == bool and got.shape == (150,)
    wrong = got != truth()
    near = np.zeros(150, bool)
    for a, b in SPANS:  # the frame beside a stretch may go either way
        near[[a - 1, a, b - 1, b]] = True
    assert (wrong & ~near).mean() < 0.04


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-3, 0.1])
def test_steady_noise_is_no_speech(level):
    assert not np.asarray(speech_activity(noise(level))).any()


def test_a_click_is_no_speech():
    wav = sentence()
    wav[130 * 640 + 100 : 130 * 640 + 140] = 0.9
    assert not np.asarray(speech_activity(wav))[125:135].any()


def test_length_is_the_video_frames():
    wav = sentence()
    assert speech_activity(wav[:1000]).shape == (2,)
    assert speech_activity(wav[:0]).shape == (0,)
    assert speech_activity(wav, 40).shape == (40,)
    longer = np.asarray(speech_activity(wav, 400))
    assert longer.shape == (400,) and not longer[150:].any()
    np.testing.assert_array_equal(longer[:150], speech_activity(wav))


def test_level_is_rms_in_decibels():
    wav = 0.1 * np.sin(2 * np.pi * 500 * np.arange(1280) / 16_000)
    np.testing.assert_allclose(frame_level(wav), 20 * np.log10(0.1 / np.sqrt(2)), atol=1e-3)
    np.testing.assert_allclose(frame_level(np.zeros(640)), -120, atol=1e-3)


def test_real_voice_keeps_its_pauses():
    got = np.asarray(speech_activity(voice()))
    assert 0.6 < got.mean() < 0.95
    padded = np.asarray(speech_activity(np.pad(voice(), 16_000)))
    assert not padded[:23].any() and not padded[-23:].any()
    assert (padded[25 : 25 + len(got)] == got).mean() > 0.97
