"""Where the head motion of a video comes from: `--pose` of `talkjax generate`.

`clip` and `fixed` use the person's own frames; `matched` and `delta` look for real frames whose poses follow
a wanted motion (the two background matchings of the papers, reference.md §4.3), so that hair, neck and
shoulders always fit; `generated`, `video:FILE` and `track:FILE` put the head where a motion says.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import convolve1d
from scipy.signal import argrelextrema

from talkjax.infer.head_style import HeadStyle
from talkjax.infer.motion_track import MotionTrack
from talkjax.infer.played import ping_pong as ping_pong

MATCH_SMOOTH = 7  # frames of the Hanning window, reference.md §4.3
MATCH_AXIS = 2  # roll decides the key frames
MIN_KEY_GAP = 3
STILLNESS_COST = 0.12
RANGE_MARGIN = 1.5  # of the person's own range: how far another video's motion may take the head


def match_frames(
    predicted_euler: Float[np.ndarray, "t 3"],
    clip_euler: Float[np.ndarray, "n 3"],
    *,
    delta: bool = False,
    speed: float = 1.0,
    stillness_cost: float = STILLNESS_COST,
) -> Int[np.ndarray, "t"]:
    """Clip frames whose real poses follow a predicted head motion (reference.md §4.3).

    Key frames are extremes of the smoothed roll; the first is matched over the whole clip, each next within
    reach of the one before (at most `speed` clip frames per output frame); in between, the clip plays from
    match to match.

    Args:
      predicted_euler, clip_euler: pitch, yaw, roll, radians.
      delta: match what the last matched frame's pose plus the predicted change is, as the follow-up paper
        does, instead of the predicted pose itself: the motion's mean then need not be the person's.
      stillness_cost: radians that a frozen picture is worth; 0 is the reference, whose matches often stay
        on one frame, so that the whole body freezes. Playing at the clip's own speed costs nothing.
    """
    t, n = len(predicted_euler), len(clip_euler)
    if t == 1:
        return np.array([int(np.argmin(np.abs(clip_euler - predicted_euler[0]).sum(1)))])
    window = np.hanning(MATCH_SMOOTH + 2)[1:-1]
    roll = convolve1d(predicted_euler[:, MATCH_AXIS], window / window.sum(), mode="reflect")
    keys = _key_frames(roll, t)
    first = int(np.argmin(np.abs(clip_euler - predicted_euler[keys[0]]).sum(1)))
    matched = [first]
    for previous, key in pairwise(keys):
        wanted = predicted_euler[key]
        if delta:
            wanted = clip_euler[matched[-1]] + predicted_euler[key] - predicted_euler[previous]
        reach = max(int((key - previous) * speed), 1)
        low, high = max(matched[-1] - reach, 0), min(matched[-1] + reach, n - 1)
        cost = np.abs(clip_euler[low : high + 1] - wanted).sum(1)
        played = np.abs(np.arange(low, high + 1) - matched[-1]) / reach
        cost = cost + stillness_cost * (1 - played)
        matched.append(low + int(np.argmin(cost)))
    return np.clip(np.round(np.interp(np.arange(t), keys, matched)), 0, n - 1).astype(np.int64)


def _key_frames(roll: np.ndarray, t: int) -> np.ndarray:
    """Extremes of the roll curve, thinned to at most a tenth of the frames, with both ends."""
    keys = np.sort(np.r_[argrelextrema(roll, np.greater)[0], argrelextrema(roll, np.less)[0]])
    while len(keys) > t / 10:
        values = roll[keys]
        kept = np.sort(
            np.r_[argrelextrema(values, np.greater, order=2)[0], argrelextrema(values, np.less, order=2)[0]]
        )
        if len(kept) == len(keys):
            break
        keys = keys[kept]
    thin: list[int] = []
    for key in keys:
        if thin and key - thin[-1] < MIN_KEY_GAP:
            if abs(roll[key]) > abs(roll[thin[-1]]):
                thin[-1] = int(key)
            continue
        thin.append(int(key))
    return np.unique(np.r_[0, thin, t - 1]).astype(np.int64)


def rest_frame(style: HeadStyle, clip_euler: Float[np.ndarray, "n 3"]) -> int:
    """The real frame whose head is nearest to the person's mean pose."""
    return int(np.argmin(np.abs(clip_euler - style.mean_euler).sum(1)))


def retarget(
    style: HeadStyle,
    euler: Float[np.ndarray, "u 3"],
    translation: Float[np.ndarray, "u 3"],
    n_frames: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Another head's motion on this person: its deviations from its own mean, added to the person's mean.

    Angles and free translation stay within 1.5 times the person's own range (bent softly, not cut). A motion
    that is too short plays forth and back.
    """
    played = ping_pong(n_frames, len(euler))
    low, high = style.quantiles[:, 0], style.quantiles[:, -1]
    middle = style.quantiles.mean(1)
    moved = np.concatenate([euler - euler.mean(0), translation - translation.mean(0)], 1)[played]
    moved[:, 3:] -= style.followed(euler)[played] - style.followed(euler).mean(0)
    reach = RANGE_MARGIN * np.maximum(high - middle, middle - low)
    series = middle + reach * np.tanh(moved / reach)
    return series[:, :3], style.followed(series[:, :3]) + series[:, 3:]


def played_track(style: HeadStyle, track: MotionTrack, n_frames: int) -> MotionTrack:
    """A track with a translation and of the right length: cut, or played forth and back."""
    translation = track.translation
    if translation is None:
        translation = style.followed(track.euler) + style.quantiles[3:].mean(1)
    whole = MotionTrack(track.euler, translation, track.lid, track.gaze, track.source)
    return whole.take(ping_pong(n_frames, len(track)))
