"""One video's motion: mouth from the voice, head from a pose source, eyes alive, a background for each frame.

    plan = plan_motion(person, mouth_exp, moves, settings)

Everything is decided for the whole video before the first picture is made, from the settings and a seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.config import GenerateConfig
from talkjax.errors import InputError
from talkjax.infer import backgrounds, pose_edits, pose_sources
from talkjax.infer.eye_motion import EyeStyle, eye_course, fit_eye_style
from talkjax.infer.head_style import HeadStyle
from talkjax.infer.layers import Motion
from talkjax.infer.motion import upper_face
from talkjax.infer.motion_track import MotionTrack
from talkjax.infer.person import Person, Segment
from talkjax.infer.played import clip_start, ping_pong
from talkjax.infer.retrieval import gaze_of

LIGHT_FRAMES = 12
_LIGHT_REACH = 0.03  # of `head_distance`: frames so much farther than the nearest lend a third of its light


class Head(NamedTuple):
    """Head motion at 25 fps: euler `[t 3]`, translation `[t 3]`; source `[t]` where real frames are shown."""

    euler: np.ndarray
    translation: np.ndarray
    source: np.ndarray | None = None


class Plan(NamedTuple):
    """What is rendered, and the same as a track for people."""

    motion: Motion
    track: MotionTrack


def plan_motion(
    person: Person,
    mouth_exp: Float[np.ndarray, "t e"],
    style: HeadStyle,
    wanted: MotionTrack | None,
    config: GenerateConfig,
    body: np.ndarray | None = None,
) -> Plan:
    """Motion of a whole video.

    Args:
      mouth_exp: expression from the mapping.
      style: of the person's training frames.
      wanted: the head motion (and lids, gaze, source frames if known) of the pose sources that have one:
        all but `clip` and `fixed`; at least as long as the video.
      config: pose source, edits, seed.
      body: `backgrounds.body_distance` of the training frames.
    """
    t, segment = len(mouth_exp), person.train
    times = pose_edits.frozen_time(t, pose_edits.parse_freeze(config.freeze))
    moving = _head(person, style, wanted, config, int(np.ceil(times[-1])) + 1)
    euler, translation = _edited(style, moving, config)
    edited = euler is not moving.euler or translation is not moving.translation
    chosen = _chosen(segment, moving, euler, translation, edited, body)
    euler, translation = (pose_edits.at_times(v, times) for v in (euler, translation))
    shown = np.round(times).astype(int)
    chosen = backgrounds.Backgrounds(*(values[shown] for values in chosen))
    if edited or moving.source is None or config.freeze:
        sh = light_at(segment, euler, translation)
    else:
        sh = segment.sh[chosen.source]
    exp, gaze = _face(person, mouth_exp, euler, wanted, config)
    motion = Motion(
        exp=exp,
        euler=euler.astype(np.float32),
        translation=translation.astype(np.float32),
        sh=sh.astype(np.float32),
        gaze=gaze.astype(np.float32),
        source=chosen.source,
        other=chosen.other if chosen.share.any() else None,
        share=chosen.share if chosen.share.any() else None,
    )
    return Plan(motion, motion_as_track(person, motion))


def _head(
    person: Person, style: HeadStyle, wanted: MotionTrack | None, config: GenerateConfig, n_frames: int
) -> Head:
    """The head before edits, `n_frames` long."""
    segment, kind = person.train, config.pose_kind
    if kind == "clip":
        return _real(segment, ping_pong(n_frames, len(segment), clip_start(config.seed, len(segment))))
    if kind == "fixed":
        return _real(segment, np.full(n_frames, pose_sources.rest_frame(style, segment.euler)))
    assert wanted is not None, f"pose {kind} needs a motion"
    motion = wanted.take(np.arange(n_frames))
    assert motion.translation is not None
    if kind in ("matched", "delta"):
        euler, _ = _edited(style, Head(motion.euler, motion.translation), config)
        return _real(segment, pose_sources.match_frames(euler, segment.euler, delta=kind == "delta"))
    source = motion.source
    if source is not None and source.max() >= len(segment):
        raise InputError(
            f"--pose={config.pose}: source frame {source.max()} does not exist",
            expected=f"frames 0 to {len(segment) - 1} of {person.name!r}",
            fix="leave the source column out",
            code="bad_track",
        )
    return Head(motion.euler, motion.translation, source)


def _real(segment: Segment, source: np.ndarray) -> Head:
    return Head(
        segment.euler[source].astype(np.float64), segment.translation[source].astype(np.float64), source
    )


def _edited(style: HeadStyle, head: Head, config: GenerateConfig) -> tuple[np.ndarray, np.ndarray]:
    """Gain and clamp; `matched` and `delta` have used them on the wanted motion already."""
    euler, translation = head.euler, head.translation
    if config.pose_kind in ("matched", "delta") and head.source is not None:
        return euler, translation
    euler, translation = pose_edits.amplify(style, euler, translation, _gains(config))
    if config.pose_clamp is not None:
        euler, translation = pose_edits.clamp(style, euler, translation, config.pose_clamp)
    return euler, translation


def _gains(config: GenerateConfig) -> pose_edits.Gains:
    axes = (config.pitch_gain, config.yaw_gain, config.roll_gain, config.translation_gain)
    return pose_edits.Gains(*(config.pose_gain * gain for gain in axes))


def _chosen(
    segment: Segment,
    head: Head,
    euler: np.ndarray,
    translation: np.ndarray,
    edited: bool,
    body: np.ndarray | None,
) -> backgrounds.Backgrounds:
    """The head's own real frames while it is where they show it; else the cheapest path of similar ones."""
    if head.source is not None and not edited:
        if np.abs(np.diff(head.source)).max(initial=0) <= 1:
            return backgrounds.Backgrounds(head.source, head.source, np.zeros(len(head.source)))
        return backgrounds.with_blends(head.source)
    distance = backgrounds.head_distance(euler, translation, segment.euler, segment.translation)
    distance[:, ~segment.valid] += 1.0
    return backgrounds.choose_backgrounds(distance, body)


def light_at(segment: Segment, euler: np.ndarray, translation: np.ndarray) -> Float[np.ndarray, "t 3 9"]:
    """Light of the training frames with the most similar heads, mixed so that it changes smoothly."""
    distance = backgrounds.head_distance(euler, translation, segment.euler, segment.translation)
    distance[:, ~segment.valid] += 1.0
    count = min(LIGHT_FRAMES, distance.shape[1])
    index = np.argpartition(distance, count - 1, axis=1)[:, :count]
    near = np.take_along_axis(distance, index, 1)
    weight = np.exp(-(near - near.min(1, keepdims=True)) / _LIGHT_REACH)
    weight /= weight.sum(1, keepdims=True)
    return np.einsum("tk,tkcb->tcb", weight, segment.sh[index])


def eye_style(person: Person) -> EyeStyle:
    """How the person's eyes moved in the training frames."""
    segment = person.train
    return fit_eye_style(
        segment.exp,
        gaze_of(segment.landmarks),
        segment.euler,
        segment.valid,
        person.model.exp_names,
        upper_face(person.model),
    )


def _face(
    person: Person,
    mouth_exp: np.ndarray,
    euler: np.ndarray,
    wanted: MotionTrack | None,
    config: GenerateConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Expression `[t e]` and gaze `[t 2]`: the clip's own eyes in a replay, else generated ones."""
    t, segment = len(mouth_exp), person.train
    if config.pose_kind == "clip":
        played = ping_pong(t, len(segment), clip_start(config.seed, len(segment)))
        exp = np.where(upper_face(person.model), segment.exp[played], mouth_exp)
        return exp.astype(np.float32), gaze_of(segment.landmarks)[played]
    style = eye_style(person)
    lids, gaze = eye_course(style, euler, config.seed)
    exp = np.array(mouth_exp, np.float32)
    exp[:, style.columns] = lids
    pair = list(style.blink_columns)
    if wanted is not None and wanted.lid is not None and config.pose_kind == "track":
        exp[:, pair] = wanted.lid[:t, None]
    if wanted is not None and wanted.gaze is not None and config.pose_kind == "track":
        gaze = wanted.gaze[:t]
    return exp, gaze


def motion_as_track(person: Person, motion: Motion) -> MotionTrack:
    """The motion as a track that `--pose=track:FILE` plays again."""
    pair = [person.model.exp_names.index(name) for name in ("blink_R", "blink_L")]
    return MotionTrack(
        euler=motion.euler.astype(np.float64),
        translation=motion.translation.astype(np.float64),
        lid=np.clip(motion.exp[:, pair].mean(1), 0, 1.2).astype(np.float64),
        gaze=motion.gaze.astype(np.float64),
        source=motion.source,
    )
