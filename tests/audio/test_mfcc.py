"""MFCC against python_speech_features, and the windows against the reference's frame arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.audio.mfcc import mel_filters, mfcc, mfcc_windows, n_rows, n_video_frames
from talkjax.media.reader import read_audio
from tests.conftest import data_dir

psf = pytest.importorskip("python_speech_features")


def speechlike(n: int, seed: int = 0, pauses: bool = True) -> np.ndarray:
    """A buzz with moving resonances, pauses and a little noise; [n] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 16_000
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * t)) / 16_000
    buzz = sum(np.sin(k * pitch) / k * (1 + np.sin(2 * np.pi * t * k / 7)) for k in range(1, 25))
    wav = buzz * (not pauses or np.sin(2 * np.pi * 1.5 * t) > -0.5) + 0.01 * rng.standard_normal(n)
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)


def voice() -> np.ndarray:
    path = data_dir() / "drive_16k.wav"
    if not path.exists():
        pytest.skip(f"real voice not at hand: {path.name} (set TALKJAX_DATA)")
    return read_audio(path)


SIGNALS = {
    "voice": voice,
    "speechlike": lambda: speechlike(20_123),
    "noise": lambda: np.random.default_rng(1).normal(0, 0.1, 8_000).astype(np.float32),
    "quiet": lambda: speechlike(8_000) * 1e-3,
    "sine": lambda: (0.5 * np.sin(np.arange(8_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32),
    "zeros around": lambda: np.pad(speechlike(9_000), 1920),
    "zeros": lambda: np.zeros(2_000, np.float32),
    "shorter than a row": lambda: speechlike(300),
    "just one row": lambda: speechlike(400),
    "one sample more": lambda: speechlike(401),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_mfcc_is_that_of_python_speech_features(name):
    wav = SIGNALS[name]()
    got = np.asarray(mfcc(wav))
    want = psf.mfcc(wav.astype(np.float64), 16_000, winstep=0.01)
    assert got.shape == want.shape == (n_rows(len(wav)), 13)
    assert np.abs(got - want).max() < 1e-4 * max(10.0, np.abs(want).max())


def test_filters():
    np.testing.assert_allclose(mel_filters(), psf.get_filterbanks(26, 512, 16_000), atol=1e-12)


def test_leading_batch():
    wavs = np.stack([speechlike(5_000, 1), speechlike(5_000, 2)])[:, None]
    got = mfcc(wavs)
    assert got.shape == (2, 1, n_rows(5_000), 13)
    np.testing.assert_allclose(got[1, 0], mfcc(wavs[1, 0]), atol=2e-4)
    with pytest.raises(ValueError, match="empty"):
        mfcc(jnp.zeros(0))


@pytest.mark.parametrize(("n", "frames"), [(70_315, 109), (87_681, 136), (88_405, 138)])
def test_frame_counts_of_the_reference(n, frames):
    """The three bundled sentences: 4.395, 5.480 and 5.525 s (reference.md §1.2)."""
    assert n_video_frames(n) == frames
    assert jax.eval_shape(mfcc_windows, jax.ShapeDtypeStruct((n,), jnp.float32)).shape == (frames, 28, 12)


def test_windows_are_the_padded_rows_of_the_reference():
    wav = speechlike(16_000)
    padded = np.concatenate([np.zeros(1920), wav, np.zeros(1920)])
    rows = psf.mfcc(padded, 16_000, winstep=0.01)
    want = np.stack([rows[4 * j : 4 * j + 28, 1:] for j in range(len(rows) // 4 - 6)])
    got = np.asarray(mfcc_windows(wav))
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 5e-3


def test_windows_for_a_wanted_number_of_frames():
    wav = speechlike(16_000)
    full = np.asarray(mfcc_windows(wav))
    assert len(full) == 24
    np.testing.assert_allclose(mfcc_windows(wav, 10), full[:10], atol=1e-4)
    longer = np.asarray(mfcc_windows(wav, 60))
    assert longer.shape == (60, 28, 12)
    np.testing.assert_allclose(longer[:20], full[:20], atol=1e-4)
    np.testing.assert_allclose(longer[40:], 0, atol=1e-3)  # silence has no cepstrum
    assert mfcc_windows(wav[:10], 3).shape == (3, 28, 12)
    assert mfcc_windows(wav, 0).shape == mfcc_windows(wav[:10]).shape == (0, 28, 12)


def test_a_frame_sees_120_ms_back_and_160_ms_ahead():
    base = np.asarray(mfcc_windows(np.zeros(32_000, np.float32)))
    for j in (10, 25):
        start = 640 * j
        seen = []
        for sample in range(start - 3200, start + 4000, 80):
            wav = np.zeros(32_000, np.float32)
            wav[sample] = 0.5
            if np.abs(np.asarray(mfcc_windows(wav))[j] - base[j]).max() > 1e-2:
                seen.append((sample - start) / 16)
        assert min(seen) == pytest.approx(-120, abs=6)
        assert max(seen) == pytest.approx(160 + 15, abs=6)  # the last row's 25 ms reach 15 ms past its hop
