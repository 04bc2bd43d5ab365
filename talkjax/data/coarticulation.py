"""From phonemes with times to the motion of jaw, lips and tongue, by dominance functions.

Each phoneme has a target for every articulator and a dominance that rises before it, holds, and falls after
it; what is seen is the dominance-weighted mean of the targets (Cohen and Massaro, "Modeling coarticulation in
synthetic visual speech", 1993). What phonetics adds:

- A closure dominates strongly and briefly. The lips of b and p part at the burst, before the phone ends;
  those of m part with it (`_HELD`: share of the phone for which the closure stands).
- Rounding is planned ahead: its dominance rises about 0.2 s early, through consonants that do not care about
  the lips (Perkell and Matthies 1992: 0.1 to 0.3 s), and those consonants hardly weigh on it.
- A short phone weighs less, so fast speech undershoots its targets (Lindblom 1963).
- A sibilant holds the jaw up against its vowels (Keating et al. 1994): high weight on a low target.
- A pause of a quarter second or more closes the lips; shorter ones only in part.

Phonemes are flite's (CMU set, lower case, `pau` for silence).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHANNELS = ("jaw", "part", "spread", "round", "close", "tuck", "tongue")
"""Jaw lowered; lips parted beyond the jaw; corners drawn wide; lips rounded; lips closed; lower lip under the
upper teeth; tongue tip raised. All 0..1."""

_OPEN = {  # vowels and semivowels: jaw, part, spread, round, tongue, dominance
    "aa": (1.00, 0.40, 0.00, 0.00, 0.0, 2.0),
    "ae": (0.80, 0.65, 0.35, 0.00, 0.0, 2.0),
    "ah": (0.60, 0.40, 0.10, 0.00, 0.0, 1.5),
    "ao": (0.75, 0.25, 0.00, 0.55, 0.0, 2.0),
    "aw": (0.80, 0.30, 0.00, 0.30, 0.0, 2.0),
    "ax": (0.38, 0.30, 0.05, 0.00, 0.1, 0.8),
    "axr": (0.32, 0.30, 0.00, 0.35, 0.2, 1.0),
    "ay": (0.85, 0.50, 0.25, 0.00, 0.0, 2.0),
    "eh": (0.62, 0.55, 0.35, 0.00, 0.0, 1.7),
    "er": (0.30, 0.32, 0.00, 0.42, 0.2, 1.3),
    "ey": (0.50, 0.55, 0.50, 0.00, 0.0, 1.7),
    "ih": (0.36, 0.45, 0.35, 0.00, 0.0, 1.2),
    "iy": (0.24, 0.48, 0.75, 0.00, 0.0, 1.7),
    "ow": (0.52, 0.12, 0.00, 0.75, 0.0, 2.0),
    "oy": (0.55, 0.20, 0.00, 0.60, 0.0, 2.0),
    "uh": (0.32, 0.20, 0.00, 0.55, 0.0, 1.5),
    "uw": (0.20, 0.06, 0.00, 1.00, 0.0, 2.0),
    "y": (0.22, 0.38, 0.45, 0.00, 0.0, 1.0),
    "w": (0.10, 0.00, 0.00, 1.00, 0.0, 3.0),
    "r": (0.26, 0.32, 0.00, 0.50, 0.3, 1.2),
    "l": (0.36, 0.40, 0.05, 0.00, 1.0, 0.8),
    "th": (0.24, 0.40, 0.10, 0.00, 0.9, 1.1),
    "dh": (0.24, 0.40, 0.10, 0.00, 0.9, 0.9),
    "t": (0.18, 0.42, 0.22, 0.00, 1.0, 0.9),
    "d": (0.20, 0.42, 0.20, 0.00, 1.0, 0.9),
    "n": (0.22, 0.40, 0.15, 0.00, 1.0, 0.8),
    "s": (0.07, 0.55, 0.35, 0.00, 0.6, 1.6),
    "z": (0.08, 0.52, 0.32, 0.00, 0.6, 1.5),
    "sh": (0.12, 0.50, 0.00, 0.65, 0.5, 2.0),
    "zh": (0.12, 0.50, 0.00, 0.65, 0.5, 2.0),
    "ch": (0.12, 0.50, 0.00, 0.62, 0.7, 2.0),
    "jh": (0.12, 0.50, 0.00, 0.62, 0.7, 2.0),
    "k": (0.36, 0.35, 0.10, 0.00, 0.0, 0.6),
    "g": (0.36, 0.35, 0.10, 0.00, 0.0, 0.6),
    "ng": (0.38, 0.35, 0.10, 0.00, 0.0, 0.6),
    "hh": (0.45, 0.35, 0.05, 0.00, 0.0, 0.3),
}
BILABIALS = ("m", "b", "p")
LABIODENTALS = ("f", "v")
SILENCES = ("pau",)
VOWELS = tuple(name for name in _OPEN if name[0] in "aeiou")

PHONES = (*_OPEN, *BILABIALS, *LABIODENTALS, *SILENCES)
"""Every phoneme that has targets of its own."""

_LEAD, _TRAIL = 0.045, 0.038  # seconds: how fast a phoneme's dominance falls off before and after it
_CLOSURE_LEAD, _CLOSURE_TRAIL = 0.030, 0.027
_ROUNDING_LEAD = 0.11
_LONGEST_RISE, _LONGEST_FALL = (
    0.06,
    0.09,
)  # seconds within a phone: lips part about 0.1 s before speech starts
_HELD = {"m": 0.95, "b": 0.75, "p": 0.65, "f": 0.85, "v": 0.85}
_LIP_NEUTRAL = ("t", "d", "n", "l", "k", "g", "ng", "hh", "th", "dh")
_REACH = 12.0  # flanks: exp(-12 ** 1.2) = 3e-9 of the peak, taken as nothing
_ROUND = CHANNELS.index("round")


def target_and_dominance(phone: str) -> tuple[np.ndarray, np.ndarray]:
    """([7] targets, [7] dominances) of a phoneme, in the order of `CHANNELS`; unknown ones count as schwa."""
    if phone in BILABIALS:
        return np.array([0.10, 0.0, 0.0, 0.06, 1.0, 0.0, 0.0]), np.array([1.2, 1.5, 0.3, 0.3, 9.0, 2.0, 0.3])
    if phone in LABIODENTALS:
        return np.array([0.12, 0.10, 0.08, 0.0, 0.0, 1.0, 0.0]), np.array([2.0, 2.0, 0.6, 0.6, 3.0, 7.0, 0.3])
    if phone in SILENCES:
        return np.array([0.0, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0]), np.full(7, 1.2)
    jaw, part, spread, rounding, tongue, weight = _OPEN.get(phone, _OPEN["ax"])
    target = np.array([jaw, part, spread, rounding, 0.0, 0.0, tongue])
    lips = 2.5 if rounding > 0.3 else 0.35 if phone in _LIP_NEUTRAL else 0.9
    return target, weight * np.array([1.0, 1.0, lips, lips, 1.0, 1.0, 1.0])


def _timing(phone: str, start: float, end: float) -> tuple[float, float, np.ndarray, float, float]:
    """Where a phone's dominance is full (from, to), its flanks' times (lead [7], trail), and its strength."""
    duration = max(end - start, 0.01)
    strength = min(1.0, 0.35 + duration / 0.08)
    if phone in _HELD:
        lead = np.full(len(CHANNELS), _CLOSURE_LEAD)
        return start, start + _HELD[phone] * duration, lead, _CLOSURE_TRAIL, strength
    lead = np.full(len(CHANNELS), _LEAD)
    if phone in _OPEN and _OPEN[phone][3] > 0.3:
        lead[_ROUND] = _ROUNDING_LEAD
    rise, fall = min(0.2 * duration, _LONGEST_RISE), min(0.3 * duration, _LONGEST_FALL)
    if phone in SILENCES:
        strength = min(1.0, 0.15 + duration / 0.3)
    return start + rise, end - fall, lead, _TRAIL, strength


def articulate(phones: Sequence[tuple[str, float]], times: np.ndarray) -> np.ndarray:
    """Articulator positions at given times.

    Args:
      phones: (phoneme, end time in seconds), in order; the first starts at 0.
      times: [n] seconds, ascending; before the first and after the last phoneme its target holds.

    Returns:
      [n 7] in the order of `CHANNELS`, 0..1.
    """
    total = np.zeros((len(times), len(CHANNELS)))
    weight = np.full((len(times), len(CHANNELS)), 1e-9)
    start = 0.0
    for k, (phone, end) in enumerate(phones):
        target, dominance = target_and_dominance(phone)
        onset, offset, lead, trail, strength = _timing(phone, start, end)
        onset = onset if k > 0 else -np.inf
        offset = offset if k < len(phones) - 1 else np.inf
        low, high = np.searchsorted(times, [onset - _REACH * lead.max(), offset + _REACH * trail])
        near = times[low:high, None]
        away = np.maximum((onset - near) / lead, (near - offset) / trail)
        shape = np.exp(-(np.clip(away, 0.0, 30.0) ** 1.2)) * strength
        total[low:high] += shape * dominance * target
        weight[low:high] += shape * dominance
        start = end
    return total / weight
