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
WARP_REACH = 0.10  # of the crop's side: how far outside the face the background still moves
WARP_SMOOTH = 0.06
GRID = 64
_FLOW_WIDTH = 480  # pixels at which the optical flow across a cut is found
# in half axes of the face outline: where the head's edge is taken to be, where its motion begins to fade
# (hair; below the chin), and where the picture stands still
_HEAD_EDGE, _HEAD_BEGIN, _HEAD_END = 1.3, (1.45, 1.0), 2.6


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
    line = ((np.arange(GRID) + 0.5) * size / GRID).astype(np.float32)
    gx, gy = np.meshgrid(line, line)
    cells = np.stack([gx, gy], -1).reshape(-1, 2)
    squared = ((cells[:, None] - anchors[None]) ** 2).sum(-1)
    weight = np.exp(-squared / (2 * (WARP_SMOOTH * size) ** 2)) + 1e-12
    field = (weight @ move.astype(np.float32)) / weight.sum(1, keepdims=True)
    # full strength inside and at the outline, fading outside
    polygon = anchors.reshape(-1, 1, 2)
    outside = np.array([max(0.0, -cv2.pointPolygonTest(polygon, tuple(map(float, c)), True)) for c in cells])
    field *= np.exp(-((outside / (WARP_REACH * size)) ** 2))[:, None]
    dense = cv2.resize(
        field.reshape(GRID, GRID, 2).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    base = np.arange(size, dtype=np.float32)
    map_x = base[None, :] - dense[..., 0]
    map_y = base[:, None] - dense[..., 1]
    return cv2.remap(crop, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def move_head(
    frame: UInt8[np.ndarray, "h w 3"], new_px: Float[np.ndarray, "v 2"], old_px: Float[np.ndarray, "v 2"]
) -> tuple[np.ndarray, np.ndarray]:
    """Carries the whole head of a picture, hair and all, along with its face; the neck stretches after it.

    The face outline's affine motion acts on the head and fades out around it, sooner below the chin, where
    the shoulders stay. `warp_background` then meets the outline exactly.

    Args:
      frame: full picture, containing a face whose vertices project to `old_px` (pixels of the frame).
      new_px: where the face goes.

    Returns:
      (a warped copy, where it shows the old face's vertices); `(frame, old_px)` themselves when no outline
      point moves by 0.3 px.
    """
    old, new = old_px[mesh468.FACE_OVAL], new_px[mesh468.FACE_OVAL]
    if np.abs(new - old).max() < 0.3:
        return frame, old_px
    center, half = (new.max(0) + new.min(0)) / 2, np.maximum((new.max(0) - new.min(0)) / 2, 1)
    ones = np.ones((len(new), 1))
    back = np.linalg.lstsq(np.concatenate([new - center, ones], 1), old - new, rcond=None)[0]
    height, width = frame.shape[:2]
    x0, y0 = np.maximum(np.floor(center - _HEAD_END * half), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(center + _HEAD_END * half), (width, height)).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return frame, old_px
    gx, gy = np.meshgrid(
        x0 + (np.arange(GRID) + 0.5) * (x1 - x0) / GRID, y0 + (np.arange(GRID) + 0.5) * (y1 - y0) / GRID
    )
    away = np.stack([gx, gy], -1) - center
    radius = np.linalg.norm(away / half, axis=-1)
    # outside the head the displacement is that of its edge: an affine map would grow without end
    held = away * np.minimum(1, _HEAD_EDGE / np.maximum(radius, 1e-6))[..., None]
    move = held @ back[:2] + back[2]
    down = np.clip(away[..., 1] / half[1], 0, 1)
    begin = _HEAD_BEGIN[0] + (_HEAD_BEGIN[1] - _HEAD_BEGIN[0]) * down
    fade = np.clip((_HEAD_END - radius) / (_HEAD_END - begin), 0, 1)
    move = (move * (fade * fade * (3 - 2 * fade))[..., None]).astype(np.float32)
    dense = cv2.resize(move, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_CUBIC)
    map_x = np.arange(x0, x1, dtype=np.float32)[None, :] + dense[..., 0]
    map_y = np.arange(y0, y1, dtype=np.float32)[:, None] + dense[..., 1]
    out = frame.copy()
    out[y0:y1, x0:x1] = cv2.remap(frame, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out, old_px - ((new_px - center) @ back[:2] + back[2])


def morph(
    first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"], share: float
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture between two similar ones, `share` of the way: shapes move along the optical flow while
    colours blend, so that hair and shoulders do not show twice."""
    scale = min(_FLOW_WIDTH / first.shape[1], 1.0)
    shrunk = [cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for x in (first, second)]
    gray = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in shrunk]
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
    flow = finder.calc(gray[0], gray[1], None)
    flow = cv2.GaussianBlur(flow, (0, 0), 2.0)
    flow = cv2.resize(flow, first.shape[1::-1], interpolation=cv2.INTER_LINEAR) / scale
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)

    def moved(image: np.ndarray, by: float) -> np.ndarray:
        at = (x + by * flow[..., 0], y + by * flow[..., 1])
        return cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return cv2.addWeighted(moved(first, -share), 1 - share, moved(second, 1 - share), share, 0)


def high_pass(image: Float[np.ndarray, "s s c"], sigma: float) -> np.ndarray:
    """The image minus its Gaussian blur."""
    return image - cv2.GaussianBlur(image, (0, 0), sigma)


def crop_alpha(size: int) -> Float[np.ndarray, "s s"]:
    """Weight for pasting a whole crop: 1 in the middle, falling to 0 toward its border."""
    soft = crop_ramp(size)
    return np.outer(soft, soft).astype(np.float32)


def crop_ramp(size: int) -> Float[np.ndarray, "s"]:
    """One axis of `crop_alpha`."""
    ramp = np.clip(np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (0.06 * size), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)
