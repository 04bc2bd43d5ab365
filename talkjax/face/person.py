"""A complete morphable face around one person's neutral."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from talkjax.face import mesh468
from talkjax.face.deformers import EXP_NAMES, expression_deformers
from talkjax.face.identity_modes import gp_identity_modes
from talkjax.face.points import vertex_points
from talkjax.types import FaceModel

_AXIS_DEPTH_DM = 0.6  # the unwrapping cylinder stands this far behind the eye corners
_MOUTH_OPENING = 0.4  # of `jawOpen`, so that the strip between the lips gets texels
_MARGIN = 4.5 / 256  # free border of the texture


def unwrap_uvs(neutral: np.ndarray, jaw_open: np.ndarray) -> np.ndarray:
    """Cylindrical texture coordinates [468 2] in [0, 1], u to image right, v down.

    Args:
      neutral: [468 3] dm, canonical frame.
      jaw_open: [468 3] the deformer that opens the mouth.
    """
    opened = neutral + _MOUTH_OPENING * jaw_open
    angle = np.arctan2(opened[:, 0], opened[:, 2] + _AXIS_DEPTH_DM)
    flat = np.stack([angle, -opened[:, 1]], axis=1)
    low, high = flat.min(0), flat.max(0)
    return _MARGIN + (1 - 2 * _MARGIN) * (flat - low) / (high - low)


def person_model(neutral: np.ndarray, n_id: int = 80) -> FaceModel:
    """The person's face: neutral as mean, identity modes and expression deformers evaluated about it.

    Args:
      neutral: [468 3] dm in the canonical frame (see `track/lift.py`); identity is folded in, so
        `id_coeffs = 0` is this person.
      n_id: number of identity modes.

    Returns:
      FaceModel in float32; faces are skin, then the strip between the lips, then the eyes.
    """
    neutral = np.asarray(neutral, np.float64)
    names, exp_basis, signed = expression_deformers(neutral)
    uvs = unwrap_uvs(neutral, exp_basis[EXP_NAMES.index("jawOpen")])
    return FaceModel(
        mean=jnp.asarray(neutral, jnp.float32),
        id_basis=jnp.asarray(gp_identity_modes(neutral, n_id), jnp.float32),
        exp_basis=jnp.asarray(exp_basis, jnp.float32),
        exp_signed=jnp.asarray(signed),
        faces=jnp.asarray(mesh468.FACES, jnp.int32),
        face_region=jnp.asarray(mesh468.FACE_REGION, jnp.int32),
        uvs=jnp.asarray(uvs, jnp.float32),
        landmarks=vertex_points(np.arange(mesh468.N_MESH), np.arange(mesh468.N_MESH)),
        exp_names=names,
    )
