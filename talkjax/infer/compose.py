"""Putting a rendered face into a picture so that nobody sees where it begins.

Only the face is pasted, never its surroundings. Where the new face's outline differs from the one in the
background frame (another jaw opening), the background is warped to meet it, fading out with distance.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from talkjax.face import mesh468

FEATHER = 1 / 48  # of the crop's side: how far inside its outline the face fades in
_WARP_REACH = 0.10  # of the crop's side: how far outside the face the background still moves
_WARP_SMOOTH = 0.06
_GRID = 64


def face_alpha(region: Int[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Blend weight of the rendered face: 1 inside, 0 at its outline and outside, smooth between.

    Mouth and eye strips belong to the face: the alpha has no holes.
    """
    size = region.shape[0]
    mask = (region >= 0).astype(np.uint8)
    reach = max(2, round(size * FEATHER))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    soft = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), reach / 2.5)
    return soft * mask


def composite(face: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`background + alpha * (face - background)`; images `[s s 3]`, alpha `[s s]`."""
    return background + alpha[..., None] * (face - background)


def outline_displacement(
    new_px: Float[np.ndarray, "v 2"], old_px: Float[np.ndarray, "v 2"]
) -> Float[np.ndarray, "36 2"]:
    """How far the face outline moved, crop pixels, at the points of `mesh468.FACE_OVAL`."""
    return (new_px - old_px)[mesh468.FACE_OVAL]


def warp_background(
    crop: UInt8[np.ndarray, "s s 3"], new_px: Float[np.ndarray, "v 2"], old_px: Float[np.ndarray, "v 2"]
) -> np.ndarray:
    """Moves the surroundings of the old face outline to the new one.

    Args:
      crop: background, containing a face whose vertices project to `old_px`.
      new_px: where the rendered face's vertices are, same crop, pixels.

    Returns:
      The warped crop; the same object when the outlines agree within 0.3 px.
    """
    move = outline_displacement(new_px, old_px)
    if np.abs(move).max() < 0.3:
        return crop
    size = crop.shape[0]
    anchors = new_px[mesh468.FACE_OVAL].astype(np.float32)
    line = ((np.arange(_GRID) + 0.5) * size / _GRID).astype(np.float32)
    gx, gy = np.meshgrid(line, line)
    cells = np.stack([gx, gy], -1).reshape(-1, 2)
    squared = ((cells[:, None] - anchors[None]) ** 2).sum(-1)
    weight = np.exp(-squared / (2 * (_WARP_SMOOTH * size) ** 2)) + 1e-12
    field = (weight @ move.astype(np.float32)) / weight.sum(1, keepdims=True)
    # full strength inside and at the outline, fading outside
    polygon = anchors.reshape(-1, 1, 2)
    outside = np.array([max(0.0, -cv2.pointPolygonTest(polygon, tuple(map(float, c)), True)) for c in cells])
    field *= np.exp(-((outside / (_WARP_REACH * size)) ** 2))[:, None]
    dense = cv2.resize(
        field.reshape(_GRID, _GRID, 2).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    base = np.arange(size, dtype=np.float32)
    map_x = base[None, :] - dense[..., 0]
    map_y = base[:, None] - dense[..., 1]
    return cv2.remap(crop, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def high_pass(image: Float[np.ndarray, "s s c"], sigma: float) -> np.ndarray:
    """The image minus its Gaussian blur."""
    return image - cv2.GaussianBlur(image, (0, 0), sigma)


def crop_alpha(size: int) -> Float[np.ndarray, "s s"]:
    """Weight for pasting a whole crop: 1 in the middle, falling to 0 toward its border."""
    ramp = np.clip(np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (0.06 * size), 0, 1)
    soft = ramp * ramp * (3 - 2 * ramp)
    return np.outer(soft, soft).astype(np.float32)
