"""The strip of held-out frames: real | bare render | result side by side, eyes and mouth enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from talkjax.evaluate import regions
from talkjax.face import mesh468

CELL = 168
"""Width of one picture of the strip, px."""

EYES_HEIGHT, MOUTH_HEIGHT = 56, 92
GAP, MARGIN, LABEL_HEIGHT = 3, 18, 24
PER_ROW = 4
BACKGROUND, INK, MUTED = (255, 255, 255), (29, 36, 48), (107, 116, 128)


def window(frame: np.ndarray, points: np.ndarray, scale: float, height: int) -> np.ndarray:
    """Part of the frame around `points`, as wide as their box times `scale`, resized to `[height CELL 3]`.

    The mean slope of the points is not corrected: heads stay as they are held.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    width = max(8.0, scale * float(high[0] - low[0]), scale * float(high[1] - low[1]) * CELL / height)
    zoom = CELL / width
    middle = (low + high) / 2
    # output pixel centre (u + .5) shows frame point middle + (u + .5 - CELL / 2) / zoom
    shift = np.array([CELL, height]) / 2 - 0.5 - zoom * (middle - 0.5)
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    how = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    return cv2.warpAffine(frame, matrix, (CELL, height), flags=how, borderMode=cv2.BORDER_REPLICATE)


def _column(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """One picture: the crop of the protocol, the eyes and the mouth enlarged below it `[.. CELL 3]`."""
    points = np.asarray(landmarks, np.float64)[:, :2]
    face = regions.crop(frame, regions.crop_box(points), CELL)
    eyes = points[np.concatenate([mesh468.RIGHT_EYE, mesh468.LEFT_EYE])]
    space = np.full((GAP, CELL, 3), BACKGROUND, np.uint8)
    return np.concatenate(
        [
            face,
            space,
            window(frame, eyes, 1.25, EYES_HEIGHT),
            space,
            window(frame, points[mesh468.OUTER_LIPS], 1.35, MOUTH_HEIGHT),
        ]
    )


def draw_text(image: np.ndarray, text: str, x: int, y: int, size: float, color: tuple[int, int, int]) -> None:
    """Text on an RGB image, in place, baseline at (x, y); `size` is the height of capitals in px."""
    scale = size / 22.0  # cap height of the font at scale 1
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)


def _block(frames: Sequence[tuple[str, np.ndarray]], landmarks: np.ndarray, index: int) -> np.ndarray:
    """One held-out frame: its number and its pictures, each under its name."""
    space = None
    parts: list[np.ndarray] = []
    for _, frame in frames:
        column = _column(frame, landmarks)
        space = np.full((len(column), GAP, 3), BACKGROUND, np.uint8)
        parts += [column, space]
    body = np.concatenate(parts[:-1], axis=1)
    head = np.full((LABEL_HEIGHT, body.shape[1], 3), BACKGROUND, np.uint8)
    for k, (name, _) in enumerate(frames):
        label = f"{index}  {name}" if k == 0 else name
        draw_text(head, label, k * (CELL + GAP) + 1, LABEL_HEIGHT - 8, 10, INK if k == 0 else MUTED)
    return np.concatenate([head, body])


def strip_image(
    real: Sequence[np.ndarray],
    bare: Sequence[np.ndarray] | None,
    result: Sequence[np.ndarray],
    landmarks: Sequence[np.ndarray] | np.ndarray,
    indices: Sequence[int],
    per_row: int = PER_ROW,
) -> np.ndarray:
    """Chosen held-out frames as one picture `[h w 3]` uint8 RGB: real | bare render | result, eyes, mouth.

    Args:
      real, bare, result: the chosen full frames `[h w 3]` uint8, one per index; `bare` may be None.
      landmarks: `[n 478 2+]` px of the chosen real frames; all three pictures are cut by them.
      indices: the frames' numbers in the clip, for the labels.
    """
    n = len(indices)
    lengths = {len(real), len(result), len(landmarks), n} | (set() if bare is None else {len(bare)})
    if lengths != {n} or n == 0:
        raise ValueError(f"strip: expected equally many frames, landmarks and indices, got {sorted(lengths)}")
    blocks = []
    for k, index in enumerate(indices):
        frames = [("real", real[k]), ("result", result[k])]
        if bare is not None:
            frames.insert(1, ("bare render", bare[k]))
        blocks.append(_block(frames, landmarks[k], index))
    height, width = blocks[0].shape[:2]
    rows, columns = -(-n // per_row), min(n, per_row)
    sheet_size = (rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN, 3)
    sheet = np.full(sheet_size, BACKGROUND, np.uint8)
    for k, block in enumerate(blocks):
        top = MARGIN + (k // per_row) * (height + MARGIN)
        left = MARGIN + (k % per_row) * (width + MARGIN)
        sheet[top : top + height, left : left + width] = block
    return sheet
