"""Articulators (`coarticulation.CHANNELS`) on the 43 deformers of `face/deformers.py`, in a speaking style.

Sizes are chosen so that lips, jaw and corners move as far as those of tracked people: an open `aa` parts the
lips by about 0.18 dm, a fifth of the distance between the outer eye corners, and the whole-lip and one-sided
axes share the motion as the tracker's fit shares it (about 1 : 0.4 : 0.4). What sound does not decide (brows,
lids, cheeks) is zero.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from talkjax.data.coarticulation import CHANNELS
from talkjax.face.deformers import EXP_NAMES

LIP_GAP = {
    "jawOpen": 0.267,
    "upperUp": 0.060,
    "lowerDown": 0.090,
    "upperUp_R": 0.025,
    "upperUp_L": 0.025,
    "lowerDown_R": 0.030,
    "lowerDown_L": 0.030,
    "funnel": 0.070,
    "rollUpper": -0.032,
    "rollLower": -0.040,
    "chinRaise": -0.045,
}
"""dm by which one unit of a deformer parts the lips in the middle (vertices 13 and 14).

All but the jaw's are the deformers' own constants. The jaw's is that of a tracked real face; a flatter one
has less (0.19 on a drawn face), and its lips are then pressed together a little harder.
"""

_CLOSERS = ("chinRaise", "rollLower", "rollUpper")
_MOST_CLOSING = 1.2  # coefficient; beyond, the jaw itself comes up
_OVERLAP = 0.004  # dm by which closed lips are pressed into each other
_SIDE_SHARE = 0.4
_ASYMMETRIC = tuple(n for n in EXP_NAMES if n[-2:] in ("_R", "_L"))


@dataclasses.dataclass(frozen=True)
class SpeakingStyle:
    """How one utterance is spoken.

    amplitude: of all opening, 0.7 (mumbled) .. 1.3 (declaimed). jaw: share of the opening done by the jaw
    against the lips, 0 .. 1. rounding, spreading: gains. asymmetry: relative, left minus right. teeth: how
    much the upper lip rises. rest: pressing of closed lips.
    """

    amplitude: float = 1.0
    jaw: float = 0.5
    rounding: float = 1.0
    spreading: float = 1.0
    asymmetry: float = 0.0
    teeth: float = 1.0
    rest: float = 0.15


def draw_style(rng: np.random.Generator) -> SpeakingStyle:
    """A style at random; means are the defaults."""
    return SpeakingStyle(
        amplitude=float(rng.uniform(0.7, 1.3)),
        jaw=float(rng.uniform(0.25, 0.75)),
        rounding=float(rng.uniform(0.75, 1.25)),
        spreading=float(rng.uniform(0.7, 1.3)),
        asymmetry=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        teeth=float(rng.uniform(0.6, 1.4)),
        rest=float(rng.uniform(0.05, 0.25)),
    )


def _smoothstep(value: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def lip_gap(exp: np.ndarray) -> np.ndarray:
    """[... 43] -> [...] dm between the lips in the middle, for a face whose neutral has closed lips."""
    return exp[..., [EXP_NAMES.index(n) for n in LIP_GAP]] @ np.array(list(LIP_GAP.values()))


def speech_exp(channels: np.ndarray, style: SpeakingStyle = SpeakingStyle()) -> np.ndarray:
    """[t 7] articulators -> [t 43] float64 expression coefficients; lips that should be closed are."""
    jaw, part, spread, rounding, close, tuck, _ = channels.T
    if channels.shape[1] != len(CHANNELS):
        raise ValueError(f"channels {channels.shape}, expected [t {len(CHANNELS)}]")
    shut = _smoothstep(close, 0.12, 0.75)
    free = 1 - shut
    a, by_jaw = style.amplitude, 2 * style.jaw
    by_lips = 2 - by_jaw
    lower = a * (0.42 * part + 0.34 * jaw) * by_lips * free
    upper = a * style.teeth * (0.26 * part + 0.10 * jaw) * free
    wide, tucked = a * style.spreading * spread, np.clip(tuck, 0, 1)
    named = {
        "jawOpen": a * 0.46 * jaw * by_jaw * (1 - 0.45 * shut),
        "lowerDown": lower * (1 - 0.6 * tucked),
        "upperUp": upper + 0.22 * tucked,
        "stretch": 0.42 * wide,
        "smile": 0.12 * wide,
        "dimple": 0.12 * wide,
        "pucker": 0.80 * style.rounding * rounding,
        "funnel": 0.34 * style.rounding * rounding * free,
        "press": style.rest * shut,
        "rollLower": 0.45 * tucked,
        "chinRaise": 0.25 * tucked,
    }
    exp = np.zeros((len(channels), len(EXP_NAMES)))
    for name, values in named.items():
        if name in EXP_NAMES:
            exp[:, EXP_NAMES.index(name)] += values
        for side in ("_R", "_L"):
            if name + side in EXP_NAMES:
                exp[:, EXP_NAMES.index(name + side)] += values * (_SIDE_SHARE if name in EXP_NAMES else 1.0)
    for name in _ASYMMETRIC:  # nobody speaks symmetrically
        exp[:, EXP_NAMES.index(name)] *= 1 + style.asymmetry * (0.5 if name.endswith("_L") else -0.5)
    return _close_lips(exp, shut)


def _close_lips(exp: np.ndarray, shut: np.ndarray) -> np.ndarray:
    """Takes up the gap that is left where `shut` (0..1) says so: the lips first, then the jaw."""
    gap = lip_gap(exp)
    excess = np.maximum(gap - (np.maximum(gap, 0) * (1 - shut) - _OVERLAP * shut), 0) * (shut > 0)
    pull = np.array([-LIP_GAP[n] for n in _CLOSERS])
    amount = excess[:, None] * pull / (pull @ pull)  # the least motion that does it
    amount = np.minimum(amount, _MOST_CLOSING)
    exp[:, [EXP_NAMES.index(n) for n in _CLOSERS]] += amount
    left = excess - amount @ pull
    jaw = EXP_NAMES.index("jawOpen")
    exp[:, jaw] -= np.minimum(left / LIP_GAP["jawOpen"], exp[:, jaw])
    return exp
