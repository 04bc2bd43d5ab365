"""Short vectors for the refiner's memory: the frame's geometry (key side) and its appearance (value side)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.infer.retrieval import ZoneFeatures
from talkjax.track.texture import ALBEDO_SCALE, TextureBank

N_FEATURES = 24
N_APPEARANCE = 40
N_IDENTITY = 8
N_VALUES = N_APPEARANCE + N_IDENTITY
_APPEARANCE_SHARE = 0.8  # of a value's length; the rest is the identity, the same in every frame


class GeometryCode(NamedTuple):
    """Projection of retrieval features to `N_FEATURES` standardised numbers."""

    mean: np.ndarray  # [d]
    basis: np.ndarray  # [d N_FEATURES]

    def __call__(self, features: ZoneFeatures) -> Float[np.ndarray, "t f"]:
        joint = np.concatenate(features, axis=-1)
        return np.clip((joint - self.mean) @ self.basis, -4, 4).astype(np.float32)


def _principal(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first principal directions `[d count]` of centred rows `[t d]` and their standard deviations."""
    gram = x @ x.T
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][:count]
    length = np.sqrt(np.maximum(values[order], 1e-8))
    directions = x.T @ vectors[:, order] / length
    missing = count - directions.shape[1]
    if missing > 0:  # fewer frames than directions
        directions = np.pad(directions, ((0, 0), (0, missing)))
        length = np.pad(length, (0, missing), constant_values=1.0)
    return directions, length / np.sqrt(len(x))


def fit_geometry_code(features: ZoneFeatures) -> GeometryCode:
    """Principal directions of the training frames' features, scaled to unit variance (floored)."""
    joint = np.concatenate(features, axis=-1).astype(np.float64)
    mean = joint.mean(0)
    basis, deviation = _principal(joint - mean, N_FEATURES)
    return GeometryCode(mean.astype(np.float32), (basis / np.maximum(deviation, 0.1)).astype(np.float32))


def appearance_values(
    bank: TextureBank, zones: tuple[np.ndarray, ...], *, stride: int = 6
) -> Float[np.ndarray, "t v"]:
    """Unit vectors `[t N_VALUES]`: how mouth and eyes of each frame differ from the mean, and the identity.

    Appearance is the leading principal components of the albedo in the mouth and eye zones; identity, the
    mean albedo of coarse texel groups.
    """
    detail = np.maximum(zones[0], zones[1])
    index = np.flatnonzero(detail > 0.2)[::stride]
    albedo = np.asarray(bank.frames[:, index], np.float32) / ALBEDO_SCALE
    seen = np.minimum(np.asarray(bank.weights[:, index], np.float32) / 64, 1)[..., None]
    rest = (albedo - bank.mean[index]) * seen * detail[index, None]
    flat = rest.reshape(len(rest), -1).astype(np.float64)
    flat -= flat.mean(0)
    directions, deviation = _principal(flat, N_APPEARANCE)
    scores = flat @ directions / np.maximum(deviation[0], 1e-6)
    appearance = scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-6)
    groups = np.array_split(bank.mean, N_IDENTITY)
    identity = np.array([g.mean() for g in groups])
    identity = identity / np.linalg.norm(identity)
    share = _APPEARANCE_SHARE
    values = np.c_[share * appearance, np.sqrt(1 - share**2) * np.tile(identity, (len(scores), 1))]
    return values.astype(np.float32)
