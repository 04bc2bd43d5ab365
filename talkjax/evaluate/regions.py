"""The crop that pictures are judged on, and the regions of the face inside it.

Crop: a square of 1.2 x the landmark box of the REAL frame, resized. Pixel (i, j) covers [j, j+1) x [i, i+1),
so a pixel belongs to a region when its centre (j + .5, i + .5) lies inside the region's outline.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import cv2
import numpy as np

from talkjax.face import mesh468

CROP_SCALE = 1.2
"""Side of the crop over the longer side of the landmark box."""

CROP_SIZE = 256
"""Crop side in pixels for PSNR and SSIM."""

GROWTH = 0.15
"""Mouth and eye hulls grow by this share of their own width, so that a wrong lip or lid edge is inside."""

REGION_NAMES = ("face", "mouth", "eyes", "mouth_interior")


class CropBox(NamedTuple):
    """Square in whole frame pixels; may reach over the frame's border."""

    x: int
    y: int
    side: int


@dataclasses.dataclass(frozen=True)
class Regions:
    """Bool masks `[s s]` on one crop. `mouth_interior` is empty while the lips are closed."""

    face: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    mouth_interior: np.ndarray

    def items(self) -> list[tuple[str, np.ndarray]]:
        """(name, mask) in the order of `REGION_NAMES`."""
        return [(name, getattr(self, name)) for name in REGION_NAMES]


def crop_box(landmarks: np.ndarray, scale: float = CROP_SCALE) -> CropBox:
    """Square of `scale` x the box of the mesh points of `landmarks` `[>=468 2+]` px, around its middle."""
    points = np.asarray(landmarks, np.float64)[: mesh468.N_MESH, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(2, round(scale * float((high - low).max())))
    corner = (low + high) / 2 - side / 2
    return CropBox(x=round(float(corner[0])), y=round(float(corner[1])), side=side)


def cut(frame: np.ndarray, box: CropBox) -> np.ndarray:
    """The box at the frame's own resolution; pixels outside `frame` `[h w ...]` repeat its border."""
    rows = np.clip(np.arange(box.y, box.y + box.side), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(box.x, box.x + box.side), 0, frame.shape[1] - 1)
    if rows[-1] - rows[0] == box.side - 1 and columns[-1] - columns[0] == box.side - 1:
        return frame[box.y : box.y + box.side, box.x : box.x + box.side]
    return frame[rows[:, None], columns[None, :]]


def resize_square(image: np.ndarray, size: int) -> np.ndarray:
    """Square image to `size` px: area average when shrinking, bilinear when growing (centres at +.5)."""
    how = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=how)


def crop(frame: np.ndarray, box: CropBox, size: int = CROP_SIZE) -> np.ndarray:
    """The box of `frame` `[h w c]` uint8, resized to `[size size c]`."""
    return resize_square(cut(frame, box), size)


def to_crop(points: np.ndarray, box: CropBox, size: int = CROP_SIZE) -> np.ndarray:
    """Frame pixels `[..., 2+]` to crop pixels `[..., 2]`."""
    return (np.asarray(points, np.float64)[..., :2] - (box.x, box.y)) * (size / box.side)


def fill_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bool mask `[h w]` of the pixels whose centre is inside the polygon `[n 2]` px (even-odd rule, exact).

    One pass per row and edge: where an edge crosses the row of centres, the pixels right of it flip.
    """
    mask = np.zeros((height, width), bool)
    start = np.asarray(points, np.float64)
    left, top = np.clip(np.floor(start.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(start.max(axis=0)), 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return mask
    flips = np.zeros((bottom - top, right - left + 1), np.int16)
    for (x0, y0), (x1, y1) in zip(start, np.roll(start, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = min(y0, y1), max(y0, y1)
        # half-open [low, high): a vertex shared by two edges counts once
        rows = np.arange(max(top, math.ceil(low - 0.5)), min(bottom, math.ceil(high - 0.5)))
        crossing = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        flips[rows - top, np.clip(np.ceil(crossing - 0.5), left, right).astype(np.int64) - left] += 1
    mask[top:bottom, left:right] = np.cumsum(flips[:, :-1], axis=1, dtype=np.int16) % 2 == 1
    return mask


def hull(points: np.ndarray, grow: float = 0.0) -> np.ndarray:
    """Convex hull `[m 2]` of `points` `[n 2]`, grown outwards by `grow` px (a 32-gon stands for the disc)."""
    points = np.asarray(points, np.float32)[:, :2]
    if grow > 0:
        angle = np.arange(32) * (2 * np.pi / 32)
        disc = grow * np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
        points = (points[:, None] + disc[None]).reshape(-1, 2)
    return cv2.convexHull(np.ascontiguousarray(points))[:, 0]


def _grown_hull_mask(points: np.ndarray, loop: np.ndarray, size: int) -> np.ndarray:
    width = float(np.linalg.norm(points[loop[0]] - points[loop[len(loop) // 2]]))  # corner to corner
    return fill_polygon(hull(points[loop], GROWTH * width), size, size)


def region_masks(
    landmarks: np.ndarray, box: CropBox, size: int = CROP_SIZE, frame_size: tuple[int, int] | None = None
) -> Regions:
    """Masks of the real frame's `landmarks` `[478 2+]` px on its crop (protocol, "Figures").

    Args:
      frame_size: (height, width) of the frame; crop pixels that lie outside of it belong to no region.
    """
    points = to_crop(landmarks, box, size)
    inside = np.ones((size, size), bool)
    if frame_size is not None:
        centres = (np.arange(size) + 0.5) * (box.side / size)
        rows, columns = centres + box.y, centres + box.x
        inside = ((rows >= 0) & (rows < frame_size[0]))[:, None] & (
            (columns >= 0) & (columns < frame_size[1])
        )
    return Regions(
        face=inside & fill_polygon(hull(points[: mesh468.N_MESH]), size, size),
        mouth=inside & _grown_hull_mask(points, mesh468.OUTER_LIPS, size),
        eyes=inside
        & (
            _grown_hull_mask(points, mesh468.RIGHT_EYE, size)
            | _grown_hull_mask(points, mesh468.LEFT_EYE, size)
        ),
        mouth_interior=inside & fill_polygon(points[mesh468.INNER_LIPS], size, size),
    )
