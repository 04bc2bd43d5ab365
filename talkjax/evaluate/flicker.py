"""Flicker: how much the skin changes between frames, measured in uv space, against the real video."""

from __future__ import annotations

import cv2
import numpy as np

from talkjax.face.points import landmark_vertices
from talkjax.types import SKIN, FaceModel


class FlickerMeter:
    """Mean absolute change of texels between consecutive frames in uv space, as a ratio to the real video.

    Feed textures unwrapped alike from both videos; only texels visible in both frames of both videos count.
    """

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._out = self._real = 0.0
        self._count = 0

    def add(self, real: np.ndarray, out: np.ndarray, visible: np.ndarray) -> None:
        """One frame: textures `[h w 3]` (0..255) and the skin texels seen in both, bool `[h w]`."""
        real, out = real.astype(np.float32), out.astype(np.float32)
        if self._last is not None:
            last_real, last_out, last_visible = self._last
            both = visible & last_visible
            self._real += float(np.abs(real - last_real)[both].sum(dtype=np.float64))
            self._out += float(np.abs(out - last_out)[both].sum(dtype=np.float64))
            self._count += 3 * int(both.sum())
        self._last = (real, out, visible)

    def gap(self) -> None:
        """Call where a frame is missing, so that no change is counted over the gap."""
        self._last = None

    def result(self) -> dict[str, float]:
        """`flicker` (ratio), and both changes in grey levels per frame."""
        if not self._count or not self._real:
            return {"flicker": float("nan"), "real": float("nan"), "out": float("nan")}
        return {
            "flicker": self._out / self._real,
            "real": self._real / self._count,
            "out": self._out / self._count,
        }


class SkinFlicker:
    """`FlickerMeter` of two videos, each unwrapped by its own landmarks `[478 2+]` px (nan: no face)."""

    def __init__(self, model: FaceModel, size: int = 128) -> None:
        verts = landmark_vertices(model)
        number = np.full(model.mean.shape[0], -1)
        number[verts] = np.arange(len(verts))
        faces = number[np.asarray(model.faces)[np.asarray(model.face_region) == SKIN]]
        faces = faces[(faces >= 0).all(1)]
        self._unwrap = LandmarkUnwrap(np.asarray(model.uvs)[verts], faces, size)
        self._meter = FlickerMeter()

    def add(self, real: np.ndarray, out: np.ndarray, real_px: np.ndarray, out_px: np.ndarray) -> None:
        """One frame of each video, `[h w 3]` uint8."""
        if not (np.isfinite(real_px).all() and np.isfinite(out_px).all()):
            self._meter.gap()
            return
        (texture, seen), (other, other_seen) = self._unwrap(real, real_px), self._unwrap(out, out_px)
        self._meter.add(texture, other, seen & other_seen)

    def result(self) -> dict[str, float]:
        """See `FlickerMeter.result`."""
        return self._meter.result()


class LandmarkUnwrap:
    """Unwraps a frame to uv space by its own landmarks: a piecewise affine warp, the same for any video.

    Args:
      uvs: `[468 2]` in [0, 1], v down.
      faces: `[f 3]` skin triangles, counter-clockwise seen from the front with y up.
      size: texture side in texels.
    """

    def __init__(self, uvs: np.ndarray, faces: np.ndarray, size: int = 128) -> None:
        self.size, self.faces = size, np.asarray(faces)
        self._triangle = np.full((size, size), -1, np.int64)
        self._bary = np.zeros((size, size, 3))
        corners = np.asarray(uvs, np.float64)[self.faces] * size
        for index, (a, b, c) in enumerate(corners):
            low = np.maximum(np.floor(np.min([a, b, c], axis=0)).astype(int), 0)
            high = np.minimum(np.ceil(np.max([a, b, c], axis=0)).astype(int), size)
            area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            if area == 0 or (high <= low).any():
                continue
            x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
            w_b = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
            w_c = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
            inside = (w_b >= 0) & (w_c >= 0) & (w_b + w_c <= 1)
            window = np.s_[low[1] : high[1], low[0] : high[0]]
            self._triangle[window][inside] = index
            self._bary[window][inside] = np.stack([1 - w_b - w_c, w_b, w_c], axis=-1)[inside]
        self.covered = self._triangle >= 0

    def __call__(self, frame: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texture `[s s 3]` float32 and visible texels bool `[s s]` (front-facing, inside the frame)."""
        points = np.asarray(landmarks, np.float64)[:, :2]
        corners = points[self.faces]  # [f 3 2]
        edge_b, edge_c = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        # y down: counter-clockwise triangles have a negative cross product; a sliver is seen too slantingly
        facing = edge_b[:, 0] * edge_c[:, 1] - edge_b[:, 1] * edge_c[:, 0] < -0.5
        place = np.einsum("hwk,hwkc->hwc", self._bary, corners[self._triangle])
        height, width = frame.shape[:2]
        visible = self.covered & facing[self._triangle]
        visible &= (place >= 0).all(axis=-1) & (place[..., 0] < width) & (place[..., 1] < height)
        at = (place - 0.5).astype(np.float32)  # pixel centres at +.5
        texture = cv2.remap(
            frame, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        return texture, visible
