"""Which training frame lends hair, neck, shoulders and room to each output frame.

The head may be anywhere; the frame with the most similar head is warped to meet it (`compose`). Chosen for
the whole video at once, so that the body neither hops nor freezes: going on in the clip's order, forward or
backward, costs nothing, staying costs a little, a cut costs more, the more so the less the two frames look
alike outside the face. Around a cut, both are blended for a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import gaussian_filter1d

THUMBNAIL = (48, 27)
MAX_BANK = 600  # training frames considered; longer clips are thinned
SAME_HEAD = 0.05  # distance (about 3 degrees) that costs 1 per frame
STEP_COSTS = (0.05, 0.0, 0.08, 0.25)  # of staying, going on by 1, 2, 3 frames, either way
CUT_COST = 8.0
CUT_PER_LEVEL = 0.8  # per grey level of mean difference outside the face
BLEND = 5  # frames on each side of a cut
SMOOTH = 2.5  # frames: the pace along the clip changes no faster
# head displacement that one radian or one dm makes, in units of the cost
_PER_RADIAN = np.array([1.0, 1.0, 1.0])
_PER_DM = np.array([1.2, 1.2, 0.25])


class Backgrounds(NamedTuple):
    """source `[t]`: frame behind each output frame; other `[t]`, share `[t]` in [0, .5]: what is blended in
    around cuts."""

    source: np.ndarray
    other: np.ndarray
    share: np.ndarray


def thumbnails(
    frame: Callable[[int], UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]
) -> tuple[UInt8[np.ndarray, "n r c 3"], np.ndarray]:
    """Small pictures of the training frames and where the face is not (`[n r c]` bool).

    Args:
      frame: k -> picture. boxes: x0 y0 x1 y1 of the face, pixels.
    """
    pictures, outside = [], []
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        image = frame(k)
        height, width = image.shape[:2]
        pictures.append(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA))
        mask = np.ones(THUMBNAIL[::-1], bool)
        rows = slice(
            max(int(y0 / height * THUMBNAIL[1]), 0), max(int(np.ceil(y1 / height * THUMBNAIL[1])), 0)
        )
        columns = slice(
            max(int(x0 / width * THUMBNAIL[0]), 0), max(int(np.ceil(x1 / width * THUMBNAIL[0])), 0)
        )
        mask[rows, columns] = False
        outside.append(mask)
    return np.stack(pictures), np.stack(outside)


def body_distance(pictures: UInt8[np.ndarray, "n r c 3"], outside: np.ndarray) -> Float[np.ndarray, "n n"]:
    """Mean absolute difference outside both faces, grey levels."""
    values = pictures.astype(np.int16)
    n = len(values)
    out = np.zeros((n, n), np.float32)
    for k in range(n):
        both = outside[k] & outside[k:]
        difference = np.abs(values[k:] - values[k]).mean(-1)
        out[k, k:] = (difference * both).sum((1, 2)) / np.maximum(both.sum((1, 2)), 1)
    return np.maximum(out, out.T)


def head_distance(
    euler: Float[np.ndarray, "t 3"],
    translation: Float[np.ndarray, "t 3"],
    bank_euler: Float[np.ndarray, "n 3"],
    bank_translation: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "t n"]:
    """How far each wanted head is from each training frame's, about in radians."""
    wanted = np.concatenate([euler * _PER_RADIAN, translation * _PER_DM], 1)
    stored = np.concatenate([bank_euler * _PER_RADIAN, bank_translation * _PER_DM], 1)
    squared = (wanted**2).sum(1)[:, None] + (stored**2).sum(1)[None] - 2 * wanted @ stored.T
    return np.sqrt(np.maximum(squared, 0))


def choose_backgrounds(
    distance: Float[np.ndarray, "t n"], body: Float[np.ndarray, "n n"] | None = None
) -> Backgrounds:
    """The cheapest path through the training frames, see above.

    Args:
      distance: `head_distance`.
      body: `body_distance`; None: all cuts are equally bad.
    """
    n = distance.shape[1]
    bank = np.unique(np.linspace(0, n - 1, min(n, MAX_BANK)).round().astype(int))
    move = np.full((len(bank), len(bank)), CUT_COST, np.float64)
    if body is not None:
        move += CUT_PER_LEVEL * body[np.ix_(bank, bank)]
    gap = np.abs(np.subtract.outer(np.arange(len(bank)), np.arange(len(bank))))
    for step, cost in enumerate(STEP_COSTS):
        move[gap == step] = cost
    path = _cheapest_path((distance[:, bank] / SAME_HEAD) ** 2, move)
    longest = len(STEP_COSTS) - 1
    return with_blends(bank[_evened(path, longest)], longest * int(np.ceil(n / len(bank))))


def _evened(path: Int[np.ndarray, "t"], longest: int) -> Int[np.ndarray, "t"]:
    """Smooths the pace between cuts: a body that trembles to and fro with the head's finest motion would
    look nervous, and the warp covers the difference."""
    out = path.copy()
    edges = np.r_[0, np.flatnonzero(np.abs(np.diff(path)) > longest) + 1, len(path)]
    for start, end in pairwise(edges):
        smooth = gaussian_filter1d(path[start:end].astype(np.float64), SMOOTH, mode="nearest")
        out[start:end] = np.round(smooth)
    return out


def _cheapest_path(cost_of: np.ndarray, move: np.ndarray) -> Int[np.ndarray, "t"]:
    t, n = cost_of.shape
    cost, back = cost_of[0].copy(), np.zeros((t, n), np.int16)
    own = np.arange(n)
    for k in range(1, t):
        total = cost[:, None] + move
        back[k] = total.argmin(0)
        cost = total[back[k], own] + cost_of[k]
    path = np.empty(t, np.int64)
    path[-1] = int(np.argmin(cost))
    for k in range(t - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path


def with_blends(path: Int[np.ndarray, "t"], step: int = 1) -> Backgrounds:
    """Blends `BLEND` frames on both sides of every cut: the other frame is the one across the cut."""
    t = len(path)
    other, share = path.copy(), np.zeros(t)
    for cut in np.flatnonzero(np.abs(np.diff(path)) > step) + 1:
        for gap in range(BLEND):
            weight = 0.5 * (1 - (gap + 0.5) / BLEND)
            for k, across in ((cut - 1 - gap, path[cut]), (cut + gap, path[cut - 1])):
                if 0 <= k < t and weight > share[k]:
                    other[k], share[k] = across, weight
    return Backgrounds(path, other, share)
