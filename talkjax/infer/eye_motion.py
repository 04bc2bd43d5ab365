"""Eyes that live: lids, brows and gaze for any length of video, from how the person moved them.

Blinks are events with the person's own rate, durations and lid shapes. What remains between them (gaze, lids
that follow it, brows) is split into what follows from the head's angles (eyes stay on the viewer while the
head turns) and the rest, which is continued with pieces of the person's own course, cut where little moves.
So the eyes go on when the head is held still, and look where the head's motion makes them look.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from talkjax.config import FPS

if TYPE_CHECKING:  # the exported file's runtime comes here, and does without
    from jaxtyping import Bool, Float

CLOSED, SHUT = 0.28, 0.4  # shares of a full closure: a lid counts as closing; a blink gets that far
LEAST_CLOSURE, USUAL_CLOSURE = 0.6, 0.9  # of the blink axes where eyes are shut: a clip may not show it
LONGEST_BLINK = 10  # frames; a longer closure is a look down or a rest of the eyes, part of the course
MARGIN = (2, 4)  # frames of a blink before and after it counts as closing
USUAL_RATE = 17 / 60  # blinks per second of people in general
PRIOR_SECONDS = 2.0  # so much of a usual person is mixed into the rate of a short clip
USUAL_SHAPE = np.array([0.15, 0.75, 1.0, 0.9, 0.55, 0.3, 0.12, 0.04])  # at 25 fps
HIGHEST = 1.3  # of an expression axis
MIN_GAP = 4  # open frames between two blinks
PIECE_S = (1.2, 4.0)  # seconds of the course that are continued in one piece
CROSSFADE = 5  # frames


@dataclasses.dataclass(frozen=True)
class EyeStyle:
    """How a person moves their eyes.

    columns: `[c]` expression axes of lids and brows. blink_columns: the two of them that shut the eyes.
    follow: `[4 c+2]`, course that follows from (1, pitch, yaw, roll). rest: `[n c+2]`, what is left of each
    training frame, expression axes then gaze. calm: `[n]` frames at which a piece may begin or end.
    shapes: list of `[b c]`, what a blink adds to the expression axes. intervals: frames from one blink's
    start to the next.
    """

    columns: np.ndarray
    blink_columns: tuple[int, int]
    follow: np.ndarray
    rest: np.ndarray
    calm: np.ndarray
    shapes: list[np.ndarray]
    intervals: np.ndarray


def lid_events(lid: Float[np.ndarray, "t"]) -> list[tuple[int, int]]:
    """(first, one past last) frame of each closure short enough for a blink; lid 0 open, 1 shut."""
    closed = lid > CLOSED
    edges = np.diff(np.concatenate([[0], closed.astype(np.int8), [0]]))
    runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    return [(int(a), int(b)) for a, b in runs if b - a <= LONGEST_BLINK and lid[a:b].max() >= SHUT]


def fit_eye_style(
    exp: Float[np.ndarray, "t e"],
    gaze: Float[np.ndarray, "t 2"],
    euler: Float[np.ndarray, "t 3"],
    valid: Bool[np.ndarray, "t"],
    exp_names: tuple[str, ...],
    columns: Bool[np.ndarray, "e"],
) -> EyeStyle:
    """The style of training frames; see `EyeStyle`."""
    axes = np.flatnonzero(columns)
    blink = (exp_names.index("blink_R"), exp_names.index("blink_L"))
    course = np.concatenate([exp[:, axes], gaze], 1).astype(np.float64)
    lids = exp[:, list(blink)].astype(np.float64)
    full = max(np.percentile(lids.mean(1), 99), LEAST_CLOSURE)
    events = lid_events(lids.mean(1) / full)
    hidden = ~np.asarray(valid, bool)
    whole = []
    for start, end in events:
        low, high = max(start - MARGIN[0], 0), min(end + MARGIN[1], len(exp))
        if not hidden[low:high].any() and high - low == end - start + sum(MARGIN):
            whole.append(slice(low, high))
        hidden[low:high] = True  # neither lid nor iris say anything about the course
    bridged = _bridged(course, hidden)
    shapes = [(course - bridged)[part, :-2] for part in whole]
    course = bridged
    pair = [int(np.flatnonzero(axes == b)[0]) for b in blink]
    if not shapes:
        shapes = [np.zeros((len(USUAL_SHAPE), len(axes)))]
        shapes[0][:, pair] = USUAL_SHAPE[:, None] * max(full, USUAL_CLOSURE)
    turned = np.concatenate([np.ones((len(euler), 1)), euler], 1)
    seen = ~hidden if (~hidden).sum() > 20 else np.ones(len(exp), bool)
    penalty = 0.05 * seen.sum() * np.diag([0, *np.var(euler, axis=0) + 1e-6])
    follow = np.linalg.solve(turned[seen].T @ turned[seen] + penalty, turned[seen].T @ course[seen])
    rest = course - turned @ follow
    shut = course[:, pair].mean(1) / full
    moving = np.abs(np.diff(course[:, -2:], axis=0, prepend=course[:1, -2:])).max(1)
    calm = np.flatnonzero((shut < CLOSED) & (moving <= np.quantile(moving, 0.8)))
    rate = (len(events) + PRIOR_SECONDS * USUAL_RATE) / (len(exp) / FPS + PRIOR_SECONDS)
    style = EyeStyle(
        columns=axes,
        blink_columns=blink,
        follow=follow,
        rest=rest,
        calm=calm if len(calm) > 1 else np.arange(len(exp)),
        shapes=shapes,
        intervals=_intervals(events, FPS / rate),
    )
    return _with_rate(style, rate, full)


def _with_rate(style: EyeStyle, rate: float, full: float) -> EyeStyle:
    """Shortens the intervals until as many blinks as the person's are seen: some run into the next."""
    seconds = 240
    for _ in range(4):
        pair = np.isin(style.columns, style.blink_columns)
        closure = added_blinks(style, round(seconds * FPS), np.random.default_rng(0))[:, pair].mean(1)
        seen = len(lid_events(closure / full)) / seconds
        scale = float(np.clip(seen / rate, 0.7, 1.2))
        style = dataclasses.replace(style, intervals=style.intervals * scale)
    return style


def _bridged(course: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    if hidden.all() or not hidden.any():
        return course
    known = np.flatnonzero(~hidden)
    out = course.copy()
    for column in out.T:
        column[hidden] = np.interp(np.flatnonzero(hidden), known, column[known])
    return out


def _intervals(events: list[tuple[int, int]], mean: float) -> np.ndarray:
    """The person's own intervals, or usual ones where there are few, stretched to a mean in frames."""
    gaps = np.diff([start for start, _ in events])
    if len(gaps) < 4:
        gaps = np.array([0.55, 0.75, 0.9, 1.1, 1.35, 1.7]) * mean
    return gaps * mean / gaps.mean()


def eye_course(style: EyeStyle, euler: Float[np.ndarray, "t 3"], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression of lids and brows `[t c]`, blinks included, and gaze `[t 2]`.

    Args:
      euler: the head's angles in the video.
      seed: other seeds give other blinks and another course.
    """
    t = len(euler)
    rest = _continued(style, t, np.random.default_rng([seed, 1]))
    course = np.concatenate([np.ones((t, 1)), euler], 1) @ style.follow + rest
    low = (style.rest + style.follow[0]).min(0)  # an axis stays in the range that it had
    high = (style.rest + style.follow[0]).max(0)
    course = np.clip(course, np.minimum(low, high), np.maximum(low, high))
    exp = course[:, :-2] + added_blinks(style, t, np.random.default_rng([seed, 2]))
    return np.clip(exp, 0, HIGHEST), course[:, -2:]


def added_blinks(style: EyeStyle, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "t c"]:
    """What blinks add to the expression axes: the person's intervals and shapes in random order."""
    added = np.zeros((n_frames, len(style.columns)))
    order: list[float] = []
    at = float(rng.uniform(0, 1) * rng.choice(style.intervals))
    while at < n_frames:
        shape = style.shapes[rng.integers(len(style.shapes))]
        start = round(at) - MARGIN[0]
        low, high = max(start, 0), min(start + len(shape), n_frames)
        part = shape[low - start : high - start]
        stronger = np.abs(part) > np.abs(added[low:high])
        added[low:high] = np.where(stronger, part, added[low:high])
        if not order:  # every interval once before any comes again: the rate holds over a minute
            order = list(rng.permutation(style.intervals))
        at += max(order.pop() * float(rng.uniform(0.85, 1.15)), len(shape) - sum(MARGIN) + MIN_GAP)
    return added


def _continued(style: EyeStyle, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """`[t c+2]` pieces of the person's course, each faded into the next."""
    n = len(style.rest)
    out = np.empty((0, style.rest.shape[1]))
    while len(out) < n_frames:
        length = round(rng.uniform(*PIECE_S) * FPS)
        starts = style.calm[style.calm < max(n - 2 * CROSSFADE, 1)]
        start = int(rng.choice(starts)) if len(starts) else 0
        after = style.calm[style.calm >= start + 2 * CROSSFADE]
        end = int(after[np.argmin(np.abs(after - start - length))]) + 1 if len(after) else n
        piece = style.rest[start:end]
        out = piece if len(out) == 0 else _faded(out, piece)
    return out[:n_frames]


def _faded(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    width = min(CROSSFADE, len(first), len(second))
    share = (np.arange(width) + 1)[:, None] / (width + 1)
    middle = first[-width:] * (1 - share) + second[:width] * share
    return np.concatenate([first[:-width], middle, second[width:]])
