"""Albedo where no frame shows it: the other half of the face, then smooth color; modes of what changes.

A texel that is never (or hardly) seen takes the color of its mirror image, shifted by how the two halves
differ around it, so that no edge shows; where both are unseen, colors flow in from the border (pull-push).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import cKDTree

from talkjax.face import mesh468
from talkjax.face.points import landmark_rows, points_at
from talkjax.track.texture import ALBEDO_SCALE, Texels, TextureBank
from talkjax.types import FaceModel

BARELY, WELL = 0.12, 0.36
"""Weights (cosine squared) of a texel's better frames: below the first its own color does not count (the
border of the face shows hair and room), above the second fully."""

_BETTER = 90  # percentile over the frames

_MIRROR_REACH = 0.08  # dm: farther from any mirrored texel there is nothing to copy
_LEAST = 1e-4


def seen_share(weights: UInt8[np.ndarray, "t n"]) -> Float[np.ndarray, "n"]:
    """How far each texel's own color counts, 0..1, from its weights (0..255) in all frames."""
    best = np.concatenate(
        [np.percentile(weights[:, part], _BETTER, axis=0) for part in _parts(weights.shape[1])]
    )
    return np.clip((best / 255 - BARELY) / (WELL - BARELY), 0, 1).astype(np.float32)


def smooth_fill(image: Float[np.ndarray, "h w c"], weight: Float[np.ndarray, "h w"]) -> np.ndarray:
    """Pull-push: weighted means on ever coarser grids flow back into what has no weight.

    Args:
      weight: 0 unknown .. 1 known; in between, the pixel and its surroundings are mixed.
    """
    weight = np.clip(np.asarray(weight, np.float32), 0, 1)[..., None]
    image = np.asarray(image, np.float32)
    h, w = image.shape[:2]
    if min(h, w) <= 1:
        total = max(float(weight.sum()), _LEAST)
        return weight * image + (1 - weight) * ((image * weight).sum((0, 1), keepdims=True) / total)
    size = ((w + 1) // 2, (h + 1) // 2)
    pulled = _shrunk(np.concatenate([image * weight, weight], axis=-1), size)
    share = pulled[..., -1:]
    coarse = smooth_fill(pulled[..., :-1] / np.maximum(share, _LEAST), np.minimum(4 * share[..., 0], 1))
    pushed = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR).reshape(image.shape)
    return weight * image + (1 - weight) * pushed


def _shrunk(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)


def mirror_texels(texels: Texels, model: FaceModel) -> tuple[np.ndarray, Bool[np.ndarray, "n"]]:
    """For every texel the one nearest to its mirror image on the neutral face, and whether it is near enough.

    The plane of symmetry is x = the middle of the outer eye corners.
    """
    verts = np.asarray(model.mean, np.float64)
    middle = 0.0
    if np.isin(mesh468.OUTER_EYE_CORNERS, np.asarray(model.landmarks.number)).all():
        corners = np.asarray(points_at(model.mean, model.landmarks))
        middle = corners[landmark_rows(model, mesh468.OUTER_EYE_CORNERS), 0].mean()
    points = np.einsum("nk,nkc->nc", texels.bary, verts[texels.verts])
    mirrored = points * [-1, 1, 1] + [2 * middle, 0, 0]
    partner = np.zeros(len(points), np.int64)
    near = np.zeros(len(points), bool)
    for region in np.unique(texels.region):
        of = np.flatnonzero(texels.region == region)
        distance, nearest = cKDTree(points[of]).query(mirrored[of])
        partner[of], near[of] = of[nearest], distance < _MIRROR_REACH
    return partner, near


def complete_albedo(
    texels: Texels, model: FaceModel, albedo: Float[np.ndarray, "n 3"], seen: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "s s 3"]:
    """The whole texture, every pixel of it colored.

    Args:
      albedo: of the used texels; anything where `seen` is 0.
      seen: how far each counts, 0..1 (`seen_share`).
    """
    own = np.asarray(seen, np.float32)
    partner, near = mirror_texels(texels, model)
    other = albedo[partner]
    trust = own[partner] * near

    def spread(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        plane = np.zeros((texels.size**2, values.shape[1]), np.float32)
        share = np.zeros(texels.size**2, np.float32)
        plane[texels.used], share[texels.used] = values, weight
        return smooth_fill(
            plane.reshape(texels.size, texels.size, -1), share.reshape(texels.size, texels.size)
        )

    # how this half differs from the other, known where both are seen, smooth elsewhere
    shift = spread(albedo - other, own * trust).reshape(-1, 3)[texels.used]
    copied = np.maximum(other + shift, 0.0)
    weight = own + (1 - own) * trust
    value = (own[:, None] * albedo + ((1 - own) * trust)[:, None] * copied) / np.maximum(weight, _LEAST)[
        :, None
    ]
    return spread(value, weight)


class ResidualBasis(NamedTuple):
    """What changes from frame to frame: albedo = mean + coeffs @ modes.

    modes: `[k n 3]` float32, orthonormal, largest first. coeffs: `[t k]`. share: `[k]` of the frames'
    variance.
    """

    modes: np.ndarray
    coeffs: np.ndarray
    share: np.ndarray


def residual_basis(bank: TextureBank, k: int) -> ResidualBasis:
    """Principal components of the frames' own albedo around the mean; unseen texels count as the mean.

    Raises:
      ValueError: more modes than frames.
    """
    t = len(bank.frames)
    if not 0 < k <= t:
        raise ValueError(f"{k} modes of {t} frames")
    gram = np.zeros((t, t))
    for part in _parts(len(bank.mean)):
        rows = _residual(bank, part)
        gram += rows @ rows.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1][:k], 0), vectors[:, ::-1][:, :k]
    lengths = np.sqrt(np.maximum(values, 1e-12))
    modes = [(vectors / lengths).T @ _residual(bank, part) for part in _parts(len(bank.mean))]
    return ResidualBasis(
        modes=np.concatenate(modes, axis=1).reshape(k, -1, 3).astype(np.float32),
        coeffs=(vectors * lengths).astype(np.float32),
        share=values / max(float(np.trace(gram)), 1e-12),
    )


def _parts(n: int) -> list[slice]:
    return [slice(i, i + 8192) for i in range(0, n, 8192)]


def _residual(bank: TextureBank, part: slice) -> Float[np.ndarray, "t m"]:
    """Difference to the mean of some texels in all frames, weighted by how well each was seen."""
    difference = bank.frames[:, part].astype(np.float32) / ALBEDO_SCALE - bank.mean[part]
    shown = bank.weights[:, part].astype(np.float32) / 255
    return (difference * np.minimum(2 * shown, 1)[..., None]).reshape(len(difference), -1).astype(np.float64)


def fit_tex_coeffs(
    tex_mean: Float[np.ndarray, "v 3"],
    tex_basis: Float[np.ndarray, "x v 3"],
    colors: Float[np.ndarray, "t v 3"],
    weights: Float[np.ndarray, "t v"],
    light: Float[np.ndarray, "t v 3"],
    *,
    prior: float = 1e-3,
) -> Float[np.ndarray, "x"]:
    """Texture coefficients of a statistical model, shared by the frames: ridge regression under their light.

    Minimizes the weighted mean of (light * (mean + coeffs . basis) - color)^2 + prior * |coeffs|^2 / x.
    """
    lit = weights[..., None] * light
    strength = (lit * light).sum(0)  # [v 3]
    target = (lit * colors).sum(0) - strength * tex_mean
    total = max(float(strength.sum()), _LEAST)
    basis = np.asarray(tex_basis, np.float64).reshape(len(tex_basis), -1)
    normal = (basis * strength.reshape(-1)) @ basis.T / total
    normal += prior / len(basis) * np.eye(len(basis))
    return np.linalg.solve(normal, basis @ target.reshape(-1) / total).astype(np.float32)
