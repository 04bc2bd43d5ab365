"""Sound and picture out of step: known shifts of a voice whose mouth follows from its phonemes."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.audio.shift import advance_sound
from talkjax.data.coarticulation import articulate
from talkjax.data.speech_deformers import lip_gap, speech_exp
from talkjax.data.synthetic_voice import load_voice
from talkjax.infer.sound_offset import MIN_REPAIR, NETWORK_LAG, estimate_offset

FRAMES = 300


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, np.ndarray]:
    """(sound, lip opening with a tracker's noise) of a person who moves as far ahead of the sound as real
    ones."""
    voice = load_voice("voice_train")
    times = (np.arange(FRAMES) + 0.5 + NETWORK_LAG) / 25
    opening = lip_gap(speech_exp(articulate(voice.phones, times)))
    noise = np.random.default_rng(0).normal(0, 0.02, FRAMES)
    return voice.wav[: FRAMES * 640], opening + noise


@pytest.mark.parametrize("late", [-2.5, 0.0, 2.0, 3.0])
def test_known_shifts_come_back_within_half_a_frame(speech, late) -> None:
    wav, opening = speech
    found = estimate_offset(advance_sound(wav, -late), opening)
    assert found.confident and found.frames == pytest.approx(late, abs=0.5)
    assert found.repair == (found.frames if abs(late) > MIN_REPAIR else 0.0)
    assert found.correlation >= found.at_zero


def test_sparse_frames_are_enough_and_gaps_are_allowed(speech) -> None:
    wav, opening = speech
    frames = np.arange(0, FRAMES, 2)
    values = opening[frames].copy()
    values[10:14] = np.nan
    found = estimate_offset(advance_sound(wav, -2.0), values, frames)
    assert found.confident and found.frames == pytest.approx(2.0, abs=0.5)


def test_nothing_is_repaired_where_the_clip_does_not_tell(speech) -> None:
    wav, opening = speech
    other = np.random.default_rng(1).normal(size=FRAMES)
    assert estimate_offset(wav, other).repair == 0
    assert not estimate_offset(wav[:1000], opening[:20]).confident
    assert not estimate_offset(wav, np.full(FRAMES, 0.1)).confident
    assert not estimate_offset(np.zeros(0, np.float32), opening).confident


def test_advancing_moves_sound_and_fills_with_silence() -> None:
    wav = np.arange(1.0, 6401.0)
    early = advance_sound(wav, 1.5)
    np.testing.assert_array_equal(early[:5440], wav[960:])
    assert not early[5440:].any() and advance_sound(wav, 0.0) is wav
    late = advance_sound(wav, -2)
    np.testing.assert_array_equal(late[1280:], wav[:-1280])
    assert not late[:1280].any()
