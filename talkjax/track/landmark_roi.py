"""The square, turned region of a frame that the mesh network looks at: found, refined, smoothed.

A region of interest is `[4]` float64: centre x, centre y, side (pixels), angle (radians, clockwise on
screen). Pixel coordinates here are MediaPipe's: no half-pixel term between a crop and the frame (adding one
costs 0.6 % of the outer-eye distance against MediaPipe's own numbers).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Generic, TypeVar

import cv2
import numpy as np

from talkjax.face.mesh468 import LEFT_EYE_OUTER, N_MESH, RIGHT_EYE_OUTER
from talkjax.track.landmark_models import MESH_SIZE

T = TypeVar("T")
_MARGIN = 1.5  # side of the region over the side of the face's box
SMOOTHING_WINDOW = 7  # frames
_SMOOTHING_DEGREE = 2


def roi_from_detection(box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Region around a detector box `[4]` (x0, y0, x1, y1), level with its two eye keypoints (rows 0, 1)."""
    dx, dy = keypoints[1] - keypoints[0]
    side = _MARGIN * max(box[2] - box[0], box[3] - box[1])
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side, np.arctan2(dy, dx)])


def roi_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Region around landmarks `[478 3]`, level with the outer eye corners."""
    low, high = landmarks_box(landmarks).reshape(2, 2)
    dx, dy = (landmarks[LEFT_EYE_OUTER] - landmarks[RIGHT_EYE_OUTER])[:2]
    side = _MARGIN * (high - low).max()
    return np.array([*((low + high) / 2), side, np.arctan2(dy, dx)])


def landmarks_box(landmarks: np.ndarray) -> np.ndarray:
    """Upright box (x0, y0, x1, y1) of the mesh points of `[478 3]`."""
    xy = landmarks[:N_MESH, :2].astype(np.float64)
    return np.concatenate([xy.min(0), xy.max(0)])


def crop_to_frame(roi: np.ndarray, size: int = MESH_SIZE) -> np.ndarray:
    """Affine map `[2 3]` from crop pixels to frame pixels."""
    x, y, side, angle = roi
    cos, sin = np.cos(angle) * side / size, np.sin(angle) * side / size
    half = size / 2
    return np.array([[cos, -sin, x - (cos - sin) * half], [sin, cos, y - (sin + cos) * half]])


def crop_roi(frame: np.ndarray, roi: np.ndarray, size: int = MESH_SIZE) -> np.ndarray:
    """The region as an upright uint8 image `[size size 3]`; outside the frame its border repeats."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = crop_to_frame(roi, size)
    return cv2.warpAffine(frame, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def points_to_frame(points: np.ndarray, roi: np.ndarray, size: int = MESH_SIZE) -> np.ndarray:
    """Crop points `[n 3]` in frame pixels; z is scaled like x and y."""
    matrix = crop_to_frame(roi, size)
    xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([xy, points[:, 2:] * (roi[2] / size)], axis=1)


@functools.cache
def _smoothing_row(count: int, position: int) -> np.ndarray:
    """Weights `[count]` whose product with a series is its least-squares parabola at `position`."""
    powers = np.vander(np.arange(count) - position, min(_SMOOTHING_DEGREE, count - 1) + 1, increasing=True)
    return np.linalg.pinv(powers.astype(np.float64))[0]


class RoiSmoother(Generic[T]):
    """Savitzky-Golay smoothing of a stream of regions, three frames behind it.

    The first and last three regions of a segment take the parabola through its first and last seven frames,
    so that a segment of any length comes out whole and no frame outside it has a say. Holds at most seven
    items.
    """

    def __init__(self) -> None:
        self._window: list[tuple[T, np.ndarray]] = []
        self._angle = 0.0
        self._done = 0  # how many items of the window are out already

    def push(self, item: T, roi: np.ndarray) -> Iterator[tuple[T, np.ndarray]]:
        """Adds a frame's region; yields (item, smoothed region) of the frames that are now settled."""
        roi = roi.copy()
        if self._window:  # the angle must not jump by a turn
            roi[3] = self._angle + (roi[3] - self._angle + np.pi) % (2 * np.pi) - np.pi
        self._angle = roi[3]
        self._window.append((item, roi))
        if len(self._window) > SMOOTHING_WINDOW:
            self._window.pop(0)
            self._done -= 1
        if len(self._window) == SMOOTHING_WINDOW:
            yield from self._settle(SMOOTHING_WINDOW // 2 + 1)

    def flush(self) -> Iterator[tuple[T, np.ndarray]]:
        """Ends the segment; yields what is left of it."""
        yield from self._settle(len(self._window))
        self._window, self._done = [], 0

    def _settle(self, until: int) -> Iterator[tuple[T, np.ndarray]]:
        rois = np.array([roi for _, roi in self._window])
        for position in range(self._done, until):
            item = self._window[position][0]
            self._done = position + 1
            yield item, _smoothing_row(len(rois), position) @ rois
