"""What the face does in each output frame: mouth from the voice, everything else from the person.

`motion_plan` puts a whole video together; here is what it and `evaluate` share.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import convolve1d

from talkjax.face import mesh468
from talkjax.face.model import face_verts
from talkjax.infer.layers import Motion
from talkjax.infer.person import Person, Segment
from talkjax.infer.pose_sources import ping_pong
from talkjax.infer.retrieval import gaze_of
from talkjax.types import FaceModel

UPPER_FACE = ("blink", "squint", "wide", "brow")
SILENCE_FRAMES = 12  # about half a second
REST_RAMP = 4  # frames in which the mouth closes and opens around a silence


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
