"""How far a clip's sound is out of step with its picture: heard and seen mouth compared, on training frames
only.

The general network, which knows nothing of the person, says from the sound how the mouth should move; the
tracked lips say how it did. Where both agree best is the offset. Real clips are often 2 to 3 frames off
(speech.md), and a mapping learned from such a clip is worse by a third.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from talkjax.audio.shift import advance_sound
from talkjax.evaluate.speech import pearson
from talkjax.infer.general_weights import GeneralNetwork, load_general
from talkjax.infer.mapping_data import fitted_wav, raw_rows
from talkjax.tasks.mapping_general import N_CHANNELS

MAX_FRAMES = 4
STEP_ROWS = 2
"""Resolution of the search: 20 ms, half a frame."""
ROWS_PER_FRAME = 4
NETWORK_LAG = 1
"""Frames by which the generated corpus's mouth follows its sound later than a real one does, who opens it
ahead of the voice. Set with the training frames of one real clip (1.4 there) and what speech.md saw of a
like network (1)."""
RIDGE = 30.0
FOLDS = 5
BLOCK_FRAMES = 25
DRAWS = 200
MIN_CORRELATION = 0.25
MAX_SPREAD = 0.75
"""Frames: a larger spread over resampled blocks means that the clip does not tell."""
MIN_REPAIR = 1.5
"""Frames: less is within what people, trackers and cameras differ by."""


@dataclass(frozen=True)
class SoundOffset:
    """What was found.

    Attributes:
      frames: by which the sound comes late (positive: advance it), in video frames.
      correlation: of heard and seen mouth at that offset; at_zero: as the clip is.
      spread: standard deviation of the estimate over resampled blocks of the clip, frames.
      confident: whether clip and figures allow to say so.
    """

    frames: float
    correlation: float
    at_zero: float
    spread: float
    confident: bool

    @property
    def repair(self) -> float:
        """Frames to advance the sound by: 0 unless the offset is sure and large enough to matter."""
        return self.frames if self.confident and abs(self.frames) >= MIN_REPAIR else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"repair": self.repair}


def estimate_offset(
    wav: np.ndarray,
    opening: np.ndarray,
    frames: np.ndarray | None = None,
    general: GeneralNetwork | None = None,
) -> SoundOffset:
    """The offset between sound and lips.

    Args:
      wav: 16 kHz sound from the first picture on.
      opening: `[k]` tracked lip opening, any unit; nan where unknown.
      frames: `[k]` frame numbers of these at 25 fps; all frames by default.
      general: the network; the one that ships by default.
    """
    frames = np.arange(len(opening)) if frames is None else np.asarray(frames)
    known = np.isfinite(opening)
    frames, opening = frames[known], np.asarray(opening, np.float64)[known]
    nothing = SoundOffset(0.0, 0.0, 0.0, float("inf"), False)
    if len(frames) < 2 * BLOCK_FRAMES or np.std(opening) < 1e-6 or not len(wav):
        return nothing
    general = general or load_general()
    low, high = ((NETWORK_LAG + edge) * ROWS_PER_FRAME for edge in (-MAX_FRAMES, MAX_FRAMES))
    shifts = np.arange(low, high + 1, STEP_ROWS)
    heard = np.stack([_heard(general, wav, int(s), frames) for s in shifts])  # [s k 3]
    said = np.stack([_cross_fitted(x, opening) for x in heard])  # [s k]
    curve = np.array([pearson(x, opening) for x in said])
    best = _peak(shifts, curve)
    rng = np.random.default_rng(0)
    n = len(opening)
    peaks = []
    for _ in range(DRAWS):
        starts = rng.integers(0, n - BLOCK_FRAMES + 1, -(-n // BLOCK_FRAMES))
        index = (starts[:, None] + np.arange(BLOCK_FRAMES)).reshape(-1)
        peaks.append(_peak(shifts, np.array([pearson(x[index], opening[index]) for x in said])))
    spread = float(np.std(peaks))
    correlation = float(np.nanmax(curve))
    inside = abs(best) < MAX_FRAMES  # a peak at the border may lie beyond it
    return SoundOffset(
        frames=round(float(best), 2),
        correlation=round(correlation, 3),
        at_zero=round(float(curve[len(curve) // 2]), 3),
        spread=round(spread, 2),
        confident=bool(correlation >= MIN_CORRELATION and spread <= MAX_SPREAD and inside),
    )


def _heard(general: GeneralNetwork, wav: np.ndarray, shift: int, frames: np.ndarray) -> np.ndarray:
    """`[k c]` what the network hears at the given frames when the sound is advanced by `shift` rows of 10
    ms."""
    length = int(frames[-1]) + 1
    sound = advance_sound(fitted_wav(wav, length), shift / ROWS_PER_FRAME)
    face, flags = general.outputs(raw_rows(sound))
    gap = (face * general.scales.scale + general.scales.mean)[:, N_CHANNELS:] @ general.scales.gap
    return np.concatenate([face[:, :2], gap[:, None], flags[:, :1]], axis=1)[frames]


def _cross_fitted(features: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """`[k]` opening by a regression that never saw the fold it speaks of: few weights, so no shift is
    learned."""
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    fold = np.arange(len(x)) * FOLDS // len(x)
    out = np.zeros(len(x))
    for k in range(FOLDS):
        train = fold != k
        a = x[train] - x[train].mean(0)
        y = opening[train] - opening[train].mean()
        weights = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ y)
        out[~train] = (x[~train] - x[train].mean(0)) @ weights + opening[train].mean()
    return out


def _peak(shifts: np.ndarray, curve: np.ndarray) -> float:
    """Frames at the top of a curve over shifts in rows, between grid points by a parabola."""
    k = int(np.nanargmax(curve))
    place = float(shifts[k])
    if 0 < k < len(curve) - 1:
        left, top, right = curve[k - 1 : k + 2]
        bend = left - 2 * top + right
        if bend < 0:
            place += STEP_ROWS * 0.5 * (left - right) / bend
    return place / ROWS_PER_FRAME - NETWORK_LAG
