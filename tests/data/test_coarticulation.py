"""Dominance functions: closures close, vowels open, neighbours matter."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.data.coarticulation import BILABIALS, CHANNELS, articulate, target_and_dominance

JAW, ROUND, CLOSE = CHANNELS.index("jaw"), CHANNELS.index("round"), CHANNELS.index("close")


def _at(phones: list[tuple[str, float]], time: float) -> np.ndarray:
    return articulate(phones, np.array([time]))[0]


@pytest.mark.parametrize("phone", BILABIALS)
@pytest.mark.parametrize("duration", [0.05, 0.09])
def test_bilabial_between_open_vowels_closes_at_its_center(phone: str, duration: float) -> None:
    phones = [("pau", 0.2), ("aa", 0.4), (phone, 0.4 + duration), ("ae", 0.8), ("pau", 1.0)]
    closed = _at(phones, 0.4 + duration / 2)
    assert closed[CLOSE] > 0.8
    assert _at(phones, 0.3)[CLOSE] < 0.1
    assert _at(phones, 0.3)[JAW] > 0.8 > 0.5 > closed[JAW]


def test_consonant_takes_the_rounding_of_its_vowel() -> None:
    after_round = _at([("uw", 0.2), ("t", 0.28), ("uw", 0.5)], 0.24)
    after_wide = _at([("iy", 0.2), ("t", 0.28), ("iy", 0.5)], 0.24)
    assert after_round[ROUND] > after_wide[ROUND] + 0.2


def test_single_phoneme_holds_its_target_everywhere() -> None:
    target, _ = target_and_dominance("ow")
    values = articulate([("ow", 1.0)], np.array([-0.05, 0.1, 0.5, 0.9, 1.05]))
    np.testing.assert_allclose(values, np.broadcast_to(target, values.shape), atol=1e-4)


def test_unknown_phoneme_counts_as_schwa() -> None:
    for ours, schwa in zip(target_and_dominance("xx"), target_and_dominance("ax"), strict=True):
        np.testing.assert_array_equal(ours, schwa)


def test_values_are_weighted_means_of_targets() -> None:
    rng = np.random.default_rng(0)
    names = rng.choice(["m", "aa", "iy", "uw", "f", "s", "pau"], 30)
    phones = [(str(p), float(t)) for p, t in zip(names, np.cumsum(rng.uniform(0.04, 0.2, 30)), strict=True)]
    values = articulate(phones, np.linspace(0, phones[-1][1], 400))
    targets = np.array([target_and_dominance(p)[0] for p, _ in phones])
    assert (values <= targets.max(0) + 1e-9).all() and (values >= targets.min(0) - 1e-9).all()
    assert np.abs(np.diff(values, axis=0)).max() < 0.5  # about 6 ms steps: nothing jumps
