"""What the face does in each output frame: mouth from the voice, everything else from the person.

Pose sources: `clip` replays the clip forth and back; `generated` lets the predicted head motion choose
real frames (background matching, reference.md §4.3), so hair, neck and shoulders always fit the head. In
both, lids, brows and gaze come from the same frames as the pose, so blinks are the person's own.
"""

from __future__ import annotations

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import convolve1d
from scipy.signal import argrelextrema

from talkjax.face import mesh468
from talkjax.face.model import face_verts
from talkjax.infer.layers import Motion
from talkjax.infer.person import Person, Segment
from talkjax.infer.retrieval import gaze_of
from talkjax.types import FaceModel

UPPER_FACE = ("blink", "squint", "wide", "brow")
MATCH_SMOOTH = 7  # frames of the Hanning window, reference.md §4.3
MATCH_AXIS = 2  # roll decides the key frames
MIN_KEY_GAP = 3
STILLNESS_COST = 0.12
SILENCE_FRAMES = 12  # about half a second
REST_RAMP = 4  # frames in which the mouth closes and opens around a silence


def upper_face(model: FaceModel) -> np.ndarray:
    """`[e]` bool: expression axes of lids and brows, which the voice does not decide."""
    return np.array([any(part in name for part in UPPER_FACE) for name in model.exp_names])


def ping_pong(n_out: int, n_clip: int, start: int = 0) -> Int[np.ndarray, "t"]:
    """Frame numbers that play a clip forth and back without repeating the turning frames."""
    if n_clip < 2:
        return np.zeros(n_out, np.int64)
    period = 2 * (n_clip - 1)
    phase = (np.arange(n_out) + start) % period
    return np.where(phase < n_clip, phase, period - phase)


def match_frames(
    predicted_euler: Float[np.ndarray, "t 3"],
    clip_euler: Float[np.ndarray, "n 3"],
    *,
    speed: float = 1.0,
    stillness_cost: float = STILLNESS_COST,
) -> Int[np.ndarray, "t"]:
    """Clip frames whose real poses follow a predicted head motion (reference.md §4.3).

    Key frames are extremes of the smoothed roll; the first is matched over the whole clip, each next within
    reach of the one before (at most `speed` clip frames per output frame); in between, the clip plays from
    match to match.

    Args:
      predicted_euler, clip_euler: pitch, yaw, roll, radians.
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
        reach = max(int((key - previous) * speed), 1)
        low, high = max(matched[-1] - reach, 0), min(matched[-1] + reach, n - 1)
        cost = np.abs(clip_euler[low : high + 1] - predicted_euler[key]).sum(1)
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


def speaking_motion(
    person: Person,
    mouth_exp: Float[np.ndarray, "t e"],
    source: Int[np.ndarray, "t"],
    segment: Segment | None = None,
) -> Motion:
    """Mouth from the voice; pose, light, lids, brows and gaze of the `source` frames.

    Args:
      mouth_exp: expression from the mapping.
      source: frames of `segment` (default: the training segment).
    """
    segment = segment or person.train
    exp = np.where(upper_face(person.model), segment.exp[source], mouth_exp)
    return Motion(
        exp=exp.astype(np.float32),
        euler=segment.euler[source],
        translation=segment.translation[source],
        sh=segment.sh[source],
        gaze=gaze_of(segment.landmarks)[source],
        source=np.asarray(source),
    )


def blind_motion(person: Person, mouth_exp: Float[np.ndarray, "t e"], segment: Segment, seed: int) -> Motion:
    """Drive `audio` of protocol.md: expression without any look at the frame; pose and light of frame k.

    Lids, brows and gaze replay the training clip from a random place, as they do not follow from the sound.
    """
    n = len(person.train)
    start = int(np.random.default_rng(seed).integers(0, 2 * (n - 1)))
    idle = ping_pong(len(segment), n, start)
    exp = np.where(upper_face(person.model), person.train.exp[idle], mouth_exp)
    return Motion(
        exp=exp.astype(np.float32),
        euler=segment.euler,
        translation=segment.translation,
        sh=segment.sh,
        gaze=gaze_of(person.train.landmarks)[idle],
        source=np.arange(len(segment)),
    )


def rest_expression(person: Person) -> Float[np.ndarray, "e"]:
    """The closed resting mouth: median expression of the tenth of the frames with the least opening."""
    verts = np.asarray(
        face_verts(person.model, jnp.zeros(person.model.id_basis.shape[0]), jnp.asarray(person.train.exp))
    )
    opening = np.abs(verts[:, mesh468.UPPER_LIP_INNER, 1] - verts[:, mesh468.LOWER_LIP_INNER, 1])
    opening = np.where(person.train.valid, opening, np.inf)
    count = max(len(opening) // 10, 1)
    return np.median(person.train.exp[np.argsort(opening)[:count]], axis=0)


def rest_in_silence(
    exp: Float[np.ndarray, "t e"], active: Bool[np.ndarray, "t"], rest: Float[np.ndarray, "e"]
) -> Float[np.ndarray, "t e"]:
    """Lets the mouth come to rest where nobody speaks for `SILENCE_FRAMES` or longer.

    Shorter pauses are left to the mapping: mouths stay open between words.
    """
    quiet = ~np.asarray(active, bool)
    edges = np.flatnonzero(np.diff(np.r_[False, quiet, False].astype(np.int8)))
    weight = np.zeros(len(exp), np.float32)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= SILENCE_FRAMES:
            weight[start:end] = 1.0
    ramp = np.hanning(2 * REST_RAMP + 1)
    # only inwards: the mouth is free again when speech begins, with some anticipation
    weight = np.minimum(weight, convolve1d(weight, ramp / ramp.sum(), mode="nearest"))
    return (exp + weight[:, None] * (rest - exp)).astype(np.float32)
