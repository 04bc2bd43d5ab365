"""First pass over a clip: which face, and where it is in each frame.

The largest face is followed from frame to frame by its own landmarks; detection runs at the start, after a
loss, and now and then to count the other faces.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from talkjax.track.detect import Detection, box_overlap, detect_tiles, merge_distinct, pyramid
from talkjax.track.landmark_models import LandmarkModels
from talkjax.track.landmark_roi import (
    crop_roi,
    landmarks_box,
    points_to_frame,
    roi_from_detection,
    roi_from_landmarks,
)

PRESENCE_THRESHOLD = 0.5
MAX_BRIDGED_FRAMES = 5  # 0.2 s at 25 fps
SAME_FACE_OVERLAP = 0.2  # intersection over union of boxes of one face on both sides of a gap
_COUNT_EVERY = 10  # frames between two looks for other faces
_SEEN_SHARE = 0.25  # a tile shows faces from this share of its side on reliably
_OTHER_INSIDE = 0.5  # a detection that lies in the tracked box by more than this share is the tracked face
_SETTLING_LOOKS = 2  # mesh passes from a detection to a region as good as a tracked one
_EAGER_FRAMES = (
    25  # after this many frames without a face, a search (slow: many crops) runs only now and then
)
_LAZY_EVERY = 5
_SMALLEST_REGION = 16.0  # pixels; a smaller region is a lost face


def look(views: list[tuple[np.ndarray, np.ndarray]], models: LandmarkModels) -> tuple[np.ndarray, np.ndarray]:
    """Mesh network on pairs (frame, region), in one batch.

    Returns:
      Landmarks `[b 478 3]` in pixels of each pair's frame, and presence `[b]`.
    """
    crops = np.stack([crop_roi(frame, roi) for frame, roi in views])
    points, presence = models.mesh(np.multiply(crops, np.float32(1 / 255), dtype=np.float32))
    return np.stack([points_to_frame(p, roi) for p, (_, roi) in zip(points, views, strict=True)]), presence


def _usable(roi: np.ndarray, frame: np.ndarray) -> bool:
    """Whether a region is of sane size and its centre in the frame."""
    height, width = frame.shape[:2]
    inside = 0 <= roi[0] <= width and 0 <= roi[1] <= height
    return bool(np.isfinite(roi).all() and inside and _SMALLEST_REGION <= roi[2] <= 4 * max(height, width))


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that the mesh network has confirmed."""

    landmarks: np.ndarray
    presence: float

    @property
    def box(self) -> np.ndarray:
        return landmarks_box(self.landmarks)

    @property
    def size(self) -> float:
        return float((self.box[2:] - self.box[:2]).max())


def _confirm(frame: np.ndarray, detection: Detection, models: LandmarkModels) -> Face | None:
    """The landmarks behind a detection, or None where the mesh network sees no face."""
    roi = roi_from_detection(detection.box, detection.keypoints)
    face = None
    for _ in range(1 + _SETTLING_LOOKS):
        if not _usable(roi, frame):
            return None
        points, presence = look([(frame, roi)], models)
        if presence[0] < PRESENCE_THRESHOLD:
            return None
        face = Face(points[0], float(presence[0]))
        roi = roi_from_landmarks(points[0])
    return face


def find_faces(frame: np.ndarray, models: LandmarkModels) -> list[Face]:
    """Confirmed faces of a frame, largest first, from the coarsest pyramid level that shows any."""
    for tiles in pyramid(*frame.shape[:2]):
        found = [_confirm(frame, d, models) for d in detect_tiles(frame, tiles, models)]
        faces = [face for face in found if face is not None]
        if faces:
            return sorted(faces, key=lambda face: -face.size)
    return []


def _count_faces(frame: np.ndarray, tracked: Face, models: LandmarkModels) -> int:
    """The tracked face and all others of comparable size."""
    seen: list[Detection] = []
    for depth, tiles in enumerate(pyramid(*frame.shape[:2])):
        if depth > 1 and tiles[0].side * _SEEN_SHARE < tracked.size:
            break
        seen += detect_tiles(frame, tiles, models)
    others = 0
    for detection in merge_distinct(seen):
        union, smaller = box_overlap(tracked.box, detection.box[None])
        if union[0] < SAME_FACE_OVERLAP and smaller[0] < _OTHER_INSIDE:
            others += _confirm(frame, detection, models) is not None
    return 1 + others


class Follower:
    """First pass: where the face is, one mesh look per frame; searches where it is lost.

    After a loss only a face in the old place is taken up for the time of a bridged gap, then the largest.
    """

    def __init__(self, models: LandmarkModels):
        self._models = models
        self.face: Face | None = None
        self.n_faces = 0
        self.resumed = False  # this frame's face came from a search
        self._last_box: np.ndarray | None = None
        self._lost_for = 0
        self._since_count = 0

    def next_roi(self, frame: np.ndarray) -> np.ndarray | None:
        """Where to look in this frame, if the face was there in the last one."""
        if self.face is None:
            return None
        roi = roi_from_landmarks(self.face.landmarks)
        return roi if _usable(roi, frame) else None

    def update(self, frame: np.ndarray, landmarks: np.ndarray | None, presence: float) -> None:
        """Takes the look at `next_roi` (None if there was none) and settles this frame's face."""
        self.resumed = False
        if landmarks is not None and presence >= PRESENCE_THRESHOLD:
            self.face = Face(landmarks, presence)
            self._since_count += 1
            if self._since_count >= _COUNT_EVERY:
                self.n_faces, self._since_count = _count_faces(frame, self.face, self._models), 0
        else:
            self.face = None
            if self._lost_for <= _EAGER_FRAMES or self._lost_for % _LAZY_EVERY == 0:
                self._search(frame)
        self._lost_for = 0 if self.face is not None else self._lost_for + 1
        if self.face is not None:
            self._last_box = self.face.box

    def _search(self, frame: np.ndarray) -> None:
        faces = find_faces(frame, self._models)
        self.n_faces = len(faces)
        if not faces:
            return
        if self._last_box is not None and self._lost_for <= MAX_BRIDGED_FRAMES:
            overlaps, _ = box_overlap(self._last_box, np.stack([face.box for face in faces]))
            if overlaps.max() < SAME_FACE_OVERLAP:
                return
            self.face = faces[int(overlaps.argmax())]
        else:
            self.face = faces[0]
        self.n_faces, self._since_count = _count_faces(frame, self.face, self._models), 0
        self.resumed = True
