"""What the face does in each output frame: mouth from the voice, everything else from the person.

`motion_plan` puts a whole video together; here is what it and `evaluate` share.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from talkjax.infer import backgrounds
from talkjax.infer.layers import Motion
from talkjax.infer.person import Person, Segment
from talkjax.infer.pose_sources import ping_pong
from talkjax.infer.retrieval import gaze_of
from talkjax.types import FaceModel

UPPER_FACE = ("blink", "squint", "wide", "brow")


def upper_face(model: FaceModel) -> np.ndarray:
    """`[e]` bool: expression axes of lids and brows, which the voice does not decide."""
    return np.array([any(part in name for part in UPPER_FACE) for name in model.exp_names])


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


def matched_motion(person: Person, segment: Segment) -> Motion:
    """Drive `tracked` on training backgrounds: frames of `segment`, behind them the pose-nearest ones."""
    distance = backgrounds.head_distance(
        segment.euler, segment.translation, person.train.euler, person.train.translation
    )
    behind = backgrounds.choose_backgrounds(distance)
    return Motion(
        exp=segment.exp,
        euler=segment.euler,
        translation=segment.translation,
        sh=segment.sh,
        gaze=gaze_of(segment.landmarks),
        source=behind.source,
        other=behind.other,
        share=behind.share,
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
