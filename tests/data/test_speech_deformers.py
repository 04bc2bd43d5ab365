"""The face that speaks: closures close, silence rests, sizes are a person's, styles do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.data.coarticulation import BILABIALS, CHANNELS, PHONES, articulate
from talkjax.data.speech_deformers import LIP_GAP, SpeakingStyle, draw_style, lip_gap, speech_exp
from talkjax.data.spoken_utterance import face_motion
from talkjax.data.synthetic_voice import load_voice
from talkjax.face.deformers import EXP_NAMES, expression_deformers
from tests.oracles.drawn_face import drawn_neutral

NOT_SPEECH = ("blink", "squint", "wide", "brow", "sneer", "cheek", "puff")


def _random_speech(seed: int, phones: int = 120) -> list[tuple[str, float]]:
    rng = np.random.default_rng(seed)
    names = [p for p in PHONES if p != "pau"]
    ends = np.cumsum(rng.uniform(0.045, 0.16, phones)) + 0.5
    spoken = [(str(rng.choice(names)), float(end)) for end in ends]
    return [("pau", 0.5), *spoken, ("pau", spoken[-1][1] + 0.5)]


def test_lip_gap_is_that_of_the_real_deformers():
    for neutral in (drawn_neutral(), drawn_neutral(mouth_width=0.32)):
        _, basis, _ = expression_deformers(neutral)
        gap = basis[:, 13, 1] - basis[:, 14, 1]
        for k, name in enumerate(EXP_NAMES):
            if name == "jawOpen":  # the lever is the face's own: shorter on a drawn one
                assert 0.6 * LIP_GAP[name] < gap[k] < 1.1 * LIP_GAP[name]
            else:
                assert gap[k] == pytest.approx(LIP_GAP.get(name, 0.0), abs=0.012), name


@pytest.mark.parametrize("seed", range(4))
def test_bilabials_close_the_lips_in_any_style(seed):
    """Lip gap below 15 % of the median opening, after averaging to 25 fps, for at least 90 % of m, b, p."""
    phones = _random_speech(seed)
    style = draw_style(np.random.default_rng(seed))
    exp, _ = face_motion(phones, int(phones[-1][1] * 25), style)
    gap = lip_gap(exp)
    speech = gap[13:-13]
    closed, start = [], 0.0
    for phone, end in phones:
        if phone in BILABIALS:
            closed.append(gap[int(start * 25) : int(np.ceil(end * 25))].min() < 0.15 * np.median(speech))
        start = end
    assert len(closed) > 5
    assert np.mean(closed) >= 0.9
    assert np.median(speech) > 0.03  # dm: it does speak


def test_the_embedded_voice_closes_its_lips_too():
    voice = load_voice("voice_train")
    exp, _ = face_motion(voice.phones, int(voice.seconds * 25), SpeakingStyle())
    gap = lip_gap(exp)
    starts = [0.0, *(end for _, end in voice.phones)]
    closed = [
        gap[int(start * 25) : int(np.ceil(end * 25))].min() < 0.15 * np.median(gap[gap > 0.01])
        for start, (phone, end) in zip(starts, voice.phones, strict=False)
        if phone in BILABIALS
    ]
    assert np.mean(closed) >= 0.9


def test_coefficients_stay_in_the_deformers_range():
    for seed in range(6):
        phones = _random_speech(seed, 60)
        exp, _ = face_motion(phones, int(phones[-1][1] * 25), draw_style(np.random.default_rng(seed)))
        assert exp.min() >= 0
        assert exp.max() <= 1.35
        assert not exp[:, [any(m in n for m in NOT_SPEECH) for n in EXP_NAMES]].any()
        assert lip_gap(exp).max() < 0.35  # dm; 0.9 between the outer eye corners


def test_silence_rests_with_closed_lips():
    exp, channels = face_motion([("pau", 2.0)], 50, SpeakingStyle())
    assert (lip_gap(exp) < 0).all()
    assert exp.max() < 0.2
    assert np.ptp(channels, axis=0).max() < 1e-6


def test_amplitude_and_share_of_the_jaw():
    channels = articulate([("pau", 0.3), ("aa", 0.6), ("pau", 0.9)], np.array([0.45]))
    soft, loud = (lip_gap(speech_exp(channels, SpeakingStyle(amplitude=a)))[0] for a in (0.7, 1.3))
    assert loud / soft == pytest.approx(1.3 / 0.7, rel=0.05)
    jaw = [speech_exp(channels, SpeakingStyle(jaw=j))[0, EXP_NAMES.index("jawOpen")] for j in (0.25, 0.75)]
    assert jaw[1] / jaw[0] == pytest.approx(3.0)


def test_asymmetry_makes_one_side_larger():
    channels = articulate([("iy", 1.0)], np.array([0.5]))
    exp = speech_exp(channels, SpeakingStyle(asymmetry=0.1))[0]
    ratio = exp[EXP_NAMES.index("stretch_L")] / exp[EXP_NAMES.index("stretch_R")]
    assert ratio == pytest.approx(1.05 / 0.95)


def test_lips_round_before_the_rounded_vowel():
    """Through a t and an s that leave the lips alone; a spread vowel's consonants stay unrounded."""
    times = np.array([0.52])
    ahead = [
        articulate([("pau", 0.3), ("ae", 0.45), ("t", 0.52), ("s", 0.6), (v, 0.9), ("pau", 1.2)], times)
        for v in ("uw", "iy")
    ]
    at = CHANNELS.index("round")
    assert ahead[0][0, at] > ahead[1][0, at] + 0.1


def test_fast_speech_undershoots():
    jaw = CHANNELS.index("jaw")
    peaks = []
    for duration in (0.05, 0.2):
        phones, now = [("pau", 0.5)], 0.5
        for phone in ("s", "aa", "s", "aa", "s"):
            now += duration if phone == "aa" else 0.09
            phones.append((phone, now))
        peaks.append(articulate([*phones, ("pau", now + 0.5)], np.arange(0, now, 0.01))[:, jaw].max())
    assert peaks[0] < 0.85 * peaks[1]


def test_short_pauses_do_not_shut_the_mouth_but_long_ones_do():
    close = CHANNELS.index("close")
    for pause, least, most in ((0.06, 0.0, 0.7), (0.5, 0.85, 1.0)):
        phones = [("aa", 0.3), ("pau", 0.3 + pause), ("aa", 0.6 + pause)]
        middle = articulate(phones, np.array([0.3 + pause / 2]))[0, close]
        assert least <= middle <= most
