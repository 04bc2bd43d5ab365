"""Streams real and result frames and keeps the figures of their regions; no frame is held.

Numbers that could not be measured (no frame with an open mouth) are None in results, never nan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from talkjax.evaluate import picture, regions
from talkjax.face import mesh468

MIN_REGION_PIXELS = 60
"""A region with fewer pixels of the 256 crop is not judged in that frame (closed lips have no interior)."""

BORDER_MARGIN = 8
"""Pixels of frame kept around the paste mask when its seam is measured."""


def plain(value: Any) -> Any:
    """`value` with numpy scalars and arrays as Python numbers and lists, and nan or infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


class _Scores:
    """Per-frame figures of one picture row (the output, or the bare render) against the real frames."""

    def __init__(self) -> None:
        self.psnr: dict[str, list[float]] = {name: [] for name in regions.REGION_NAMES}
        self.ssim: dict[str, list[float]] = {name: [] for name in regions.REGION_NAMES}
        self.sharpness: dict[str, list[float]] = {name: [] for name in regions.REGION_NAMES}
        self.seam: list[float] = []

    def add_unknown(self) -> None:
        for table in (self.psnr, self.ssim, self.sharpness):
            for values in table.values():
                values.append(math.nan)
        self.seam.append(math.nan)

    def add_crop(self, out: np.ndarray, real: np.ndarray, masks: regions.Regions) -> None:
        similarity = picture.ssim_map(out, real)
        for name, mask in masks.items():
            enough = mask.sum() >= MIN_REGION_PIXELS
            self.psnr[name].append(picture.psnr(out, real, mask) if enough else math.nan)
            self.ssim[name].append(float(similarity[mask].mean()) if enough else math.nan)

    def add_sharpness(self, out: np.ndarray, masks: regions.Regions, counted: Mapping[str, bool]) -> None:
        for name, mask in masks.items():
            value = picture.laplacian_variance(out, mask) if counted[name] else math.nan
            self.sharpness[name].append(value)

    def result(self, real_sharpness: Mapping[str, list[float]]) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for name in regions.REGION_NAMES:
            psnr, ssim = np.array(self.psnr[name]), np.array(self.ssim[name])
            measured = np.isfinite(psnr)
            figures[name] = {
                "frames": int(measured.sum()),
                "psnr": mean_of_measured(psnr),
                "psnr_p5": _percentile(psnr, 5),
                "ssim": mean_of_measured(ssim),
                "ssim_p5": _percentile(ssim, 5),
                "sharpness": _pooled_ratio(self.sharpness[name], real_sharpness[name]),
            }
        figures["seam"] = mean_of_measured(np.array(self.seam))
        return figures


def mean_of_measured(values: np.ndarray) -> float:
    """Mean of the finite values; nan for none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def _percentile(values: np.ndarray, percent: float) -> float:
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percent)) if len(values) else math.nan


def _pooled_ratio(out: Sequence[float], real: Sequence[float]) -> float:
    """Sum over sum on the frames where both were measured: one dull frame cannot blow the ratio up."""
    a, b = np.array(out), np.array(real)
    both = np.isfinite(a) & np.isfinite(b)
    total = float(b[both].sum())
    return float(a[both].sum()) / total if total > 0 else math.nan


class PictureMeter:
    """Streams frames and keeps a few numbers of each: constant memory in the size of the video's frames.

    Add held-out frames one by one, then read `result()`; `series(name)` has the per-frame PSNR for a plot.
    """

    def __init__(self) -> None:
        self._out, self._bare = _Scores(), _Scores()
        self._real_sharpness: dict[str, list[float]] = {name: [] for name in regions.REGION_NAMES}
        self._frames = self._skipped = 0
        self._has_bare: bool | None = None

    def add(
        self,
        real: np.ndarray,
        out: np.ndarray,
        landmarks: np.ndarray,
        bare: np.ndarray | None = None,
        paste_mask: np.ndarray | None = None,
    ) -> None:
        """One held-out frame.

        Args:
          real, out, bare: `[h w 3]` uint8 RGB full frames: real, result, and the bare render in the same
            surroundings, which must be given for all frames or for none.
          landmarks: `[478 2+]` px of the real frame; a row of nan (no face) skips the frame.
          paste_mask: `[h w]` in [0, 1], what was pasted, for the seam; without it the hull of the mesh.
        """
        if self._has_bare is None:
            self._has_bare = bare is not None
        if self._has_bare != (bare is not None):
            raise ValueError("bare render: expected for every frame or for none")
        if real.shape != out.shape or (bare is not None and bare.shape != real.shape):
            raise ValueError(f"frames differ in size: real {real.shape}, result {out.shape}")
        if not np.isfinite(landmarks[: mesh468.N_MESH, :2]).all():
            self._skip()
            return
        self._frames += 1
        box = regions.crop_box(landmarks)
        masks = regions.region_masks(landmarks, box, frame_size=real.shape[:2])
        real_crop = regions.crop(real, box)
        small = picture.SHARPNESS_SIZE
        small_masks = regions.region_masks(landmarks, box, small, frame_size=real.shape[:2])
        counted = {name: bool(mask.sum() >= MIN_REGION_PIXELS) for name, mask in masks.items()}
        real_small = regions.crop(real, box, small)
        for name, mask in small_masks.items():
            value = picture.laplacian_variance(real_small, mask) if counted[name] else math.nan
            self._real_sharpness[name].append(value)
        window, mask = _border_window(landmarks, paste_mask, real.shape[:2])
        real_gradient = picture.border_gradient(real[window], mask)
        for scores, frame in ((self._out, out), (self._bare, bare)):
            if frame is None:
                continue
            scores.add_crop(regions.crop(frame, box), real_crop, masks)
            scores.add_sharpness(regions.crop(frame, box, small), small_masks, counted)
            scores.seam.append(picture.border_gradient(frame[window], mask) - real_gradient)

    def _skip(self) -> None:
        """A frame without a face: unknown everywhere, so that series stay aligned with the video."""
        self._skipped += 1
        for scores in (self._out, self._bare):
            scores.add_unknown()
        for values in self._real_sharpness.values():
            values.append(math.nan)

    def series(self, name: str = "face", row: str = "out") -> np.ndarray:
        """PSNR per added frame of one region, `row` "out" or "bare"; nan where the region was not judged."""
        return np.array((self._out if row == "out" else self._bare).psnr[name])

    def result(self) -> dict[str, Any]:
        """`frames`, `skipped`, and by region: `out`, `bare`, `gain` (dB), `better` (share of frames)."""
        figures: dict[str, Any] = {
            "frames": self._frames,
            "skipped": self._skipped,
            "out": self._out.result(self._real_sharpness),
            "bare": None,
            "gain": None,
            "better": None,
        }
        if self._has_bare:
            figures["bare"] = self._bare.result(self._real_sharpness)
            gains = {name: self.series(name) - self.series(name, "bare") for name in regions.REGION_NAMES}
            figures["gain"] = {name: mean_of_measured(gain) for name, gain in gains.items()}
            figures["better"] = {
                name: mean_of_measured(np.where(np.isfinite(gain), gain > 0, np.nan))
                for name, gain in gains.items()
            }
        return plain(figures)


def _border_window(
    landmarks: np.ndarray, paste_mask: np.ndarray | None, frame_size: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """(part of the frame that holds the pasted region, its mask); the hull of the mesh without a mask."""
    height, width = frame_size
    if paste_mask is None:
        outline = regions.hull(landmarks[: mesh468.N_MESH])
        paste_mask = regions.fill_polygon(outline, height, width)
    pasted = paste_mask > 0
    rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
    if not len(rows):
        return (slice(0, 2), slice(0, 2)), np.zeros((2, 2), np.float32)  # no border: nan
    window = (
        slice(max(0, rows[0] - BORDER_MARGIN), rows[-1] + 1 + BORDER_MARGIN),
        slice(max(0, columns[0] - BORDER_MARGIN), columns[-1] + 1 + BORDER_MARGIN),
    )
    return window, paste_mask[window].astype(np.float32)


def picture_figures(
    real: Iterable[np.ndarray],
    out: Iterable[np.ndarray],
    landmarks: Iterable[np.ndarray],
    bare: Iterable[np.ndarray] | None = None,
    paste_masks: Iterable[np.ndarray] | None = None,
) -> dict[str, Any]:
    """`PictureMeter.result()` of whole streams, which must be equally long (ValueError otherwise)."""
    meter = PictureMeter()
    streams: list[Iterable[np.ndarray]] = [real, out, landmarks]
    streams += [stream for stream in (bare, paste_masks) if stream is not None]
    for real_frame, out_frame, points, *rest in zip(*streams, strict=True):
        bare_frame = rest.pop(0) if bare is not None else None
        meter.add(real_frame, out_frame, points, bare_frame, rest[0] if rest else None)
    return meter.result()
