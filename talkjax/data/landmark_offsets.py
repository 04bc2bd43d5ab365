"""How far, on average, the landmark network marks its points from a model's landmarks."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.face.pose import rotation
from talkjax.types import Camera, Pose

_DEPTH_SHARE = 0.1  # of the other axes' information: depth is seen from turned heads alone


class Seen(NamedTuple):
    """One picture: marks and truth [l 2] px, the head's true pose before the camera."""

    marks: np.ndarray
    truth: np.ndarray
    pose: Pose
    camera: Camera


def measure_offsets(seen: list[Seen]) -> tuple[np.ndarray, float, float]:
    """Least squares over pictures, each landmark by itself, in the head's frame.

    Returns:
      Offsets [l 3] in dm, to be added to the landmarks of the neutral face; the mean distance between marks
      and truth before and after, % of the distance between the outer corners of the eyes (landmarks 33 and
      263 by place 33 and 263), both over the pictures that were used.
    """
    truth, marks = (np.stack([getattr(s, name) for s in seen]) for name in ("truth", "marks"))
    eyes = np.linalg.norm(truth[:, 33] - truth[:, 263], axis=-1)
    turn = np.asarray(rotation(jnp.asarray(np.stack([s.pose.euler for s in seen]))))
    depth = np.array([float(s.camera.distance) - float(s.pose.translation[2]) for s in seen])
    scale = np.array([float(s.camera.focal) for s in seen]) / depth
    flat = turn[:, :2] * np.array([1.0, -1.0])[:, None] * (100 * scale / eyes)[:, None, None]  # % per dm
    away = 100 * (marks - truth) / eyes[:, None, None]
    normal = np.einsum("nij,nik->jk", flat, flat)
    normal[2, 2] += _DEPTH_SHARE * np.trace(normal) / 3
    offsets = np.linalg.solve(normal, np.einsum("nij,nli->jl", flat, away)).T
    left = away - np.einsum("nij,lj->nli", flat, offsets)
    before, after = (float(np.linalg.norm(x, axis=-1).mean()) for x in (away, left))
    return offsets, before, after
