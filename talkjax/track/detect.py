"""Face detection in whole frames: anchors, weighted suppression, a pyramid of square crops for small faces.

The short-range detector sees faces from about a seventh of its square input upwards; the pyramid halves the
square until a face is found, so faces down to about 22 pixels between the outer eye corners are found too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import cv2
import numpy as np

from talkjax.track.landmark_models import DETECTOR_SIZE, LandmarkModels

_SCORE_THRESHOLD = 0.5
_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_CONTAINED = 0.7  # share of the smaller box inside the larger one, from which they are one face
_SMALLEST_TILE = 160  # pixels; smaller squares hold faces of too few pixels for the mesh
_LOGIT_LIMIT = 100.0


@dataclasses.dataclass(frozen=True)
class Detection:
    """One face: `box [4]` (x0, y0, x1, y1) and `keypoints [6 2]` (eyes, nose, mouth, ears), frame pixels."""

    score: float
    box: np.ndarray
    keypoints: np.ndarray

    @property
    def side(self) -> float:
        """Longer side of the box, pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclasses.dataclass(frozen=True)
class Tile:
    """A square of the frame, which may reach over its border: left, top, side in pixels."""

    left: int
    top: int
    side: int


@functools.cache
def anchors() -> np.ndarray:
    """Anchor centres `[896 2]` of the short-range detector, as shares of its input's side.

    Two per cell of a 16 x 16 grid, then six per cell of an 8 x 8 grid; row by row.
    """
    layers = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        centers = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells
        layers.append(np.repeat(centers, repeats, axis=0))
    return np.concatenate(layers)


def box_overlap(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one box with `boxes [n 4]`: intersection over union, and intersection over the smaller area."""
    corner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(corner, 0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    tiny = np.finfo(np.float64).tiny
    return shared / np.maximum(area + areas - shared, tiny), shared / np.maximum(
        np.minimum(area, areas), tiny
    )


def decode(regressors: np.ndarray, logits: np.ndarray) -> list[Detection]:
    """Faces of one detector output `[896 16]`, `[896]`, in shares of the input square, suppressed."""
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)))
    keep = scores > _SCORE_THRESHOLD
    values = regressors[keep].astype(np.float64) / DETECTOR_SIZE
    centers = values[:, :2] + anchors()[keep]
    half = values[:, 2:4] / 2
    keypoints = values[:, 4:].reshape(-1, 6, 2) + anchors()[keep][:, None]
    return merge_weighted(scores[keep], np.concatenate([centers - half, centers + half], 1), keypoints)


def merge_weighted(scores: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray) -> list[Detection]:
    """Weighted suppression: a face is the score-weighted mean of all boxes that overlap its best one."""
    left = np.ones(len(scores), bool)
    faces = []
    for best in np.argsort(-scores, kind="stable"):
        if not left[best]:
            continue
        group = left & (box_overlap(boxes[best], boxes)[0] > _OVERLAP)
        group[best] = True
        left &= ~group
        weight = scores[group] / scores[group].sum()
        faces.append(
            Detection(
                float(scores[best]),
                np.einsum("n,nc->c", weight, boxes[group]),
                np.einsum("n,nkc->kc", weight, keypoints[group]),
            )
        )
    return faces


def merge_distinct(faces: list[Detection]) -> list[Detection]:
    """One detection per face of those from overlapping tiles, best first."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if kept:
            union, smaller = box_overlap(face.box, np.stack([k.box for k in kept]))
            if union.max() > _OVERLAP or smaller.max() > _CONTAINED:
                continue
        kept.append(face)
    return kept


def _starts(length: int, side: int) -> list[int]:
    """Starts of half-overlapping intervals that cover `length`; one centred interval where it is longer."""
    if side >= length:
        return [(length - side) // 2]
    count = -(-(length - side) * 2 // side) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def pyramid(height: int, width: int) -> Iterator[list[Tile]]:
    """Levels of tiles from one square around the frame down to `_SMALLEST_TILE`, each half-overlapping."""
    whole = max(height, width)
    yield [Tile(_starts(width, whole)[0], _starts(height, whole)[0], whole)]
    side = min(height, width)
    if side > 0.75 * whole:  # nearly square: the first level has shown this already
        side //= 2
    while side >= _SMALLEST_TILE:
        yield [Tile(x, y, side) for y in _starts(height, side) for x in _starts(width, side)]
        side //= 2


def _tile_image(frame: np.ndarray, tile: Tile) -> np.ndarray:
    """The tile at detector size in [-1, 1], black beyond the frame."""
    height, width = frame.shape[:2]
    x0, y0 = max(tile.left, 0), max(tile.top, 0)
    x1, y1 = min(tile.left + tile.side, width), min(tile.top + tile.side, height)
    scale = DETECTOR_SIZE / tile.side
    u0, v0 = round((x0 - tile.left) * scale), round((y0 - tile.top) * scale)
    u1, v1 = max(round((x1 - tile.left) * scale), u0 + 1), max(round((y1 - tile.top) * scale), v0 + 1)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.full((DETECTOR_SIZE, DETECTOR_SIZE, 3), -1, np.float32)
    image[v0:v1, u0:u1] = cv2.resize(frame[y0:y1, x0:x1], (u1 - u0, v1 - v0), interpolation=kind) / 127.5 - 1
    return image


def detect_tiles(frame: np.ndarray, tiles: list[Tile], models: LandmarkModels) -> list[Detection]:
    """Distinct faces of `frame` (uint8 RGB `[h w 3]`) seen in any of the tiles, best first."""
    regressors, logits = models.detect(np.stack([_tile_image(frame, tile) for tile in tiles]))
    faces = []
    for tile, values, score in zip(tiles, regressors, logits, strict=True):
        origin = np.array([tile.left, tile.top], np.float64)
        for face in decode(values, score):
            box = (face.box.reshape(2, 2) * tile.side + origin).reshape(4)
            faces.append(Detection(face.score, box, face.keypoints * tile.side + origin))
    return merge_distinct(faces)
