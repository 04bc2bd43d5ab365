"""Edits of a head motion that a person may ask for: stronger, weaker, bounded, held still; axis by axis."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.config import FPS
from talkjax.errors import InputError
from talkjax.infer.head_style import HeadStyle

EASE_S = 0.4
"""Seconds in which a head comes to rest before a freeze, and starts again after it."""


class Gains(NamedTuple):
    """Strength of head motion around the person's mean; 1 leaves it, 0 stops it."""

    pitch: float = 1.0
    yaw: float = 1.0
    roll: float = 1.0
    translation: float = 1.0

    @property
    def neutral(self) -> bool:
        return all(gain == 1.0 for gain in self)


def amplify(
    style: HeadStyle,
    euler: Float[np.ndarray, "t 3"],
    translation: Float[np.ndarray, "t 3"],
    gains: Gains,
) -> tuple[np.ndarray, np.ndarray]:
    """Scales the motion; the translation that a turn of the neck brings with it follows the angles.

    `gains.translation` scales the remaining translation around its own mean.
    """
    if gains.neutral:
        return euler, translation
    free = translation - style.followed(euler)
    mean = free.mean(0)
    turned = style.mean_euler + np.array(gains[:3]) * (euler - style.mean_euler)
    return turned, style.followed(turned) + mean + gains.translation * (free - mean)


def clamp(
    style: HeadStyle, euler: Float[np.ndarray, "t 3"], translation: Float[np.ndarray, "t 3"], degrees: float
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps every angle within `degrees` of the person's mean pose, bending softly into the limit."""
    limit = math.radians(degrees)
    away = euler - style.mean_euler
    bent = style.mean_euler + np.where(np.abs(away) <= 0.7 * limit, away, _bend(away, limit))
    return bent, translation - style.followed(euler) + style.followed(bent)


def _bend(away: np.ndarray, limit: float) -> np.ndarray:
    """Continues with slope 1 at 0.7 of the limit and never passes it."""
    knee = 0.7 * limit
    over = np.maximum(np.abs(away) - knee, 0)
    return np.sign(away) * (knee + (limit - knee) * np.tanh(over / max(limit - knee, 1e-9)))


def parse_freeze(text: str) -> list[tuple[float, float]]:
    """Spans in seconds from e.g. `2-4.5,8-` (the last one to the end) or `all`; [] for an empty text.

    Raises:
      InputError: code `bad_config`, naming the part that cannot be read.
    """
    if text.strip() in ("", "none"):
        return []
    if text.strip() == "all":
        return [(0.0, math.inf)]
    spans: list[tuple[float, float]] = []
    for part in text.split(","):
        start, dash, end = (word.strip() for word in part.partition("-"))
        try:
            span = (float(start or 0), float(end) if end else math.inf)
        except ValueError:
            span = (0.0, -1.0)
        if (
            not dash
            or not (start or end)
            or not math.isfinite(span[0])
            or not span[0] < span[1]
            or span[0] < 0
        ):
            raise InputError(
                f"--freeze={text}: {part.strip()!r} is no span",
                expected="seconds such as 2-4.5, 8- (to the end), several with commas, or all",
                code="bad_config",
            )
        spans.append(span)
    spans.sort()
    for before, after in pairwise(spans):
        if after[0] < before[1]:
            raise InputError(
                f"--freeze={text}: spans overlap", expected="spans one after the other", code="bad_config"
            )
    return spans


def frozen_time(n_frames: int, spans: list[tuple[float, float]]) -> Float[np.ndarray, "t"]:
    """The moment of the motion that each output frame shows, in frames: time stands still in the spans.

    It slows down before a span and speeds up after it, so nothing jumps, and what was held back goes on
    from where it stopped.
    """
    if not spans:
        return np.arange(n_frames, dtype=np.float64)
    ease = EASE_S * FPS
    frames = np.arange(n_frames, dtype=np.float64)
    speed = np.ones(n_frames)
    for start, end in spans:
        low, high = start * FPS, end * FPS
        inside = np.minimum(frames - low, high - frames)  # > 0 within the span
        speed = np.minimum(speed, np.clip(-inside / ease, 0, 1))
    return np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])


def at_times(values: np.ndarray, times: Float[np.ndarray, "t"]) -> np.ndarray:
    """Rows of `values` at fractional frames, linearly between two."""
    low = np.clip(np.floor(times).astype(int), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    share = (times - low)[:, None]
    return values[low] * (1 - share) + values[high] * share
