"""Which training frames to borrow mouth, eyes and skin from: unit selection over a person's own frames.

Each zone of the face has its own description of a frame (lip shape, lid shape and gaze, head pose). One
look-alike per frame, chosen along the whole sequence by dynamic programming, serves as the source of detail,
so that the detail does not hop from frame to frame; what the frame should look like is read from all of them
(`appearance`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.face import mesh468

ZONES = ("mouth", "eyes", "skin")
FAR = 1e6
JUMP_COST = 0.5
"""Of leaving the clip's own order, in units of distance."""

# Scales at which a difference counts as one unit of distance.
_LIP_DM = 0.012
_LID_DM = 0.008
_GAZE = 0.06  # of the eye's width
_TURN_FOR_MOUTH = 0.15  # rad
_TURN_FOR_EYES = 0.20
_TURN_FOR_SKIN = 0.05
_SHIFT_FOR_SKIN = 0.6  # dm


class ZoneFeatures(NamedTuple):
    """One description per zone, `[t d]` each, in units where 1 is a visible difference."""

    mouth: np.ndarray
    eyes: np.ndarray
    skin: np.ndarray


def gaze_of(landmarks: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, "t 2"]:
    """Mean iris position of both eyes between the eye corners: along and across the eye, in eye widths."""
    out = np.zeros((len(landmarks), 2))
    pairs = ((mesh468.RIGHT_IRIS[0], 33, 133), (mesh468.LEFT_IRIS[0], 362, 263))
    for iris, left, right in pairs:
        a, b, c = landmarks[:, left, :2], landmarks[:, right, :2], landmarks[:, iris, :2]
        axis = b - a
        width = np.maximum(np.linalg.norm(axis, axis=-1), 1e-3)
        axis = axis / width[:, None]
        offset = c - (a + b) / 2
        across = offset[:, 1] * axis[:, 0] - offset[:, 0] * axis[:, 1]
        out += np.stack([(offset * axis).sum(-1) / width, across / width], -1) / 2
    return out.astype(np.float32)


def zone_features(
    verts_model: Float[np.ndarray, "t v 3"],
    euler: Float[np.ndarray, "t 3"],
    translation: Float[np.ndarray, "t 3"],
    gaze: Float[np.ndarray, "t 2"],
) -> ZoneFeatures:
    """Describes frames by their tracked geometry. All in model space, so head motion does not move lips."""
    columns = zone_columns(verts_model, euler, translation, gaze)
    return ZoneFeatures(*(np.ascontiguousarray(f, np.float32) for f in columns))


def zone_columns(
    verts_model: Any, euler: Any, translation: Any, gaze: Any, xp: Any = np
) -> tuple[Any, Any, Any]:
    """`zone_features` in the types of the array module `xp` (numpy, jax.numpy)."""
    eyes = np.r_[mesh468.RIGHT_EYE, mesh468.LEFT_EYE]
    lips = verts_model[:, mesh468.LIPS].reshape(verts_model.shape[0], -1)
    lids = verts_model[:, eyes].reshape(verts_model.shape[0], -1)
    turn = euler[:, :2]
    mouth = (lips / _LIP_DM / np.sqrt(len(mesh468.LIPS)), turn / _TURN_FOR_MOUTH)
    around = (lids / _LID_DM / np.sqrt(len(eyes)), gaze / _GAZE, turn / _TURN_FOR_EYES)
    skin = (euler / _TURN_FOR_SKIN, translation / _SHIFT_FOR_SKIN)
    return (xp.concatenate(mouth, 1), xp.concatenate(around, 1), xp.concatenate(skin, 1))


def distances(
    features: Float[np.ndarray, "t d"],
    bank: Float[np.ndarray, "n d"],
    *,
    own_index: np.ndarray | None = None,
    exclude: int = 10,
) -> Float[np.ndarray, "t n"]:
    """Distance of every frame to every bank frame.

    Args:
      own_index: `[t]` bank position of each frame itself, or None for frames that are not in the bank.
        Its neighbourhood of +-`exclude` frames is put out of reach: a network that trains on its own
        frame's texture only learns to copy.
    """
    center = bank.mean(0)  # small numbers: the differences below are of squares
    features, bank = features - center, bank - center
    squared = (
        (features**2).sum(-1)[:, None] + (bank**2).sum(-1)[None] - 2 * features @ bank.T.astype(np.float32)
    )
    out = np.sqrt(np.maximum(squared, 0))
    if own_index is not None:
        gap = np.abs(np.arange(len(bank))[None] - np.asarray(own_index)[:, None])
        out = np.where(gap <= exclude, FAR, out)
    return out


def smooth_choice(distance: Float[np.ndarray, "t n"], *, jump_cost: float = JUMP_COST) -> np.ndarray:
    """One bank frame per frame, `[t]`: Viterbi over distance plus a cost for leaving the clip's own order.

    Playing the next or the same bank frame is free; any other move costs `jump_cost`.
    """
    t, n = distance.shape
    cost = distance[0].copy()
    back = np.zeros((t, n), np.int32)
    own = np.arange(n)
    for k in range(1, t):
        best = int(np.argmin(cost))
        choice = np.full(n, best, np.int32)
        value = np.full(n, cost[best] + jump_cost)
        for candidate, source in ((cost, own), (np.r_[FAR, cost[:-1]], np.r_[0, own[:-1]])):
            better = candidate <= value
            value = np.where(better, candidate, value)
            choice = np.where(better, source, choice)
        back[k] = choice
        cost = value + distance[k]
    path = np.empty(t, np.int32)
    path[-1] = int(np.argmin(cost))
    for k in range(t - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path
