"""Frames of a refiner (layers beside the real crop) as one small `.npz` that travels, and back.

Per split S (`train`, `heldout`) and t frames of s x s pixels:

    S/target            JPEG of the real crop, one after the other; S/target_ends int64 [t]: where each ends
    S/bare, many, one   likewise, the faces over the real crop; the crop itself is not stored again: where the
                        face's alpha is 0 these pictures are the target's, and flat in the file
    S/bare1, bare2      heldout only: `bare` one and two frames earlier (train's follow each other)
    S/before1, before2  heldout only: JPEG of the real crops of those frames at half size (their surroundings)
    S/bare1_region, ... heldout only: their regions
    S/region            zlib of int8 [s s]; S/region_ends
    S/valid bool [t], S/features float32 [t f], S/values float32 [t v], S/identity, S/frame int32 [t]
    S/landmarks         heldout only: float32 [t 478 2] in pixels of the crop (nan: not known)
    header              JSON: size, quality, where from

Only `export_refiner_frames` writes them. Reading takes OpenCV and numpy, no corpus library.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from talkjax.infer import compose

FACES = ("bare", "many", "one")
EARLIER = {"bare1": "before1", "bare2": "before2"}
FILL = 96  # grey of what is not stored


@dataclasses.dataclass(frozen=True)
class Frames:
    """One split in memory. Pictures uint8 `[t s s 3]`, region int8 `[t s s]`; see the head of this file."""

    target: np.ndarray
    bare: np.ndarray
    many: np.ndarray
    one: np.ndarray
    region: np.ndarray
    valid: np.ndarray
    features: np.ndarray
    values: np.ndarray
    identity: np.ndarray
    frame: np.ndarray
    bare1: np.ndarray
    bare2: np.ndarray
    landmarks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def size(self) -> int:
        return self.target.shape[1]

    def window(self) -> np.ndarray:
        """`[t s s 9]`: bare two frames earlier, one earlier, now."""
        return np.concatenate([self.bare2, self.bare1, self.bare], axis=-1)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """RGB uint8 as JPEG without colour subsampling."""
    options = (
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    )
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def from_jpeg(data: Any) -> np.ndarray:
    """RGB uint8 of a JPEG."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def face_area(region: np.ndarray) -> np.ndarray:
    """Bool `[s s]`: where the face is pasted."""
    return compose.face_alpha(region) > 0


class Writer:
    """Collects the frames of one split."""

    def __init__(self, quality: int):
        self.quality = quality
        self._bytes: dict[str, list[bytes]] = {}
        self._rows: dict[str, list[np.ndarray]] = {}

    def add(self, target: np.ndarray, region: np.ndarray, faces: dict[str, np.ndarray], **rows: Any) -> None:
        """One frame. faces: `bare`, `many`, `one`, composed over `target`; rows: what is no picture."""
        area = face_area(region)[..., None]
        self.picture("target", target)
        for name, image in faces.items():
            self.picture(name, np.where(area, image, np.uint8(FILL)))
        self._bytes.setdefault("region", []).append(zlib.compress(region.astype(np.int8).tobytes(), 9))
        for name, value in rows.items():
            self._rows.setdefault(name, []).append(np.asarray(value))

    def earlier(
        self, name: str, before: str, image: np.ndarray, crop: np.ndarray, region: np.ndarray
    ) -> None:
        """A bare composite of an earlier frame, with that frame's own surroundings at half size."""
        half = cv2.resize(crop, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        self.picture(before, half)
        self.picture(name, np.where(face_area(region)[..., None], image, np.uint8(FILL)))
        packed = zlib.compress(region.astype(np.int8).tobytes(), 9)
        self._bytes.setdefault(f"{name}_region", []).append(packed)

    def picture(self, name: str, image: np.ndarray) -> None:
        """One picture of a column as it is."""
        self._bytes.setdefault(name, []).append(jpeg(image, self.quality))

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """Everything as arrays of the file."""
        out: dict[str, np.ndarray] = {}
        for name, parts in self._bytes.items():
            out[f"{split}/{name}"] = np.frombuffer(b"".join(parts), np.uint8)
            out[f"{split}/{name}_ends"] = np.cumsum([len(part) for part in parts])
        return out | {f"{split}/{name}": np.stack(rows) for name, rows in self._rows.items()}


def write_frames(path: str | Path, arrays: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    """Writes the file."""
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(Path(path), header=text, **arrays)  # type: ignore[arg-type]


def _pictures(file: Any, key: str, pool: ThreadPoolExecutor) -> np.ndarray:
    data, ends = file[key].tobytes(), file[f"{key}_ends"]
    pieces = [data[a:b] for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True)]
    return np.stack(list(pool.map(from_jpeg, pieces)))


def _regions(file: Any, key: str) -> np.ndarray:
    data, ends = file[key].tobytes(), file[f"{key}_ends"]
    pieces = [zlib.decompress(data[a:b]) for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True)]
    side = round(len(pieces[0]) ** 0.5)
    return np.stack([np.frombuffer(piece, np.int8).reshape(side, side) for piece in pieces])


def _over(faces: np.ndarray, surroundings: np.ndarray, areas: Sequence[np.ndarray]) -> np.ndarray:
    """Puts what was not stored around the faces."""
    return np.stack(
        [np.where(area[..., None], face, s) for face, s, area in zip(faces, surroundings, areas, strict=True)]
    )


def read_frames(path: str | Path, splits: Iterable[str] = ("train", "heldout")) -> dict[str, Frames]:
    """The splits of a file, decoded with all cores."""
    result = {}
    with np.load(path, allow_pickle=False) as file, ThreadPoolExecutor() as pool:
        for split in splits:
            if f"{split}/target" not in file:
                continue
            target = _pictures(file, f"{split}/target", pool)
            region = _regions(file, f"{split}/region")
            areas = list(pool.map(face_area, region))
            faces = {name: _over(_pictures(file, f"{split}/{name}", pool), target, areas) for name in FACES}
            names = ("valid", "features", "values", "identity", "frame")
            rows = {name: file[f"{split}/{name}"] for name in names}
            if f"{split}/bare1" in file:
                size = target.shape[1:3]
                for name, before in EARLIER.items():
                    small = _pictures(file, f"{split}/{before}", pool)
                    around = np.stack([cv2.resize(x, size, interpolation=cv2.INTER_CUBIC) for x in small])
                    early = _regions(file, f"{split}/{name}_region")
                    stored = _pictures(file, f"{split}/{name}", pool)
                    faces[name] = _over(stored, around, list(pool.map(face_area, early)))
            else:
                faces |= _earlier(faces["bare"], rows["identity"])
            optional = {"landmarks": file[f"{split}/landmarks"]} if f"{split}/landmarks" in file else {}
            result[split] = Frames(target=target, region=region, **faces, **rows, **optional)
    return result


def _earlier(bare: np.ndarray, identity: np.ndarray) -> dict[str, np.ndarray]:
    """The frame itself stands in for those before an identity's first."""
    at = np.arange(len(bare))
    first = np.array([np.flatnonzero(identity == i)[0] for i in identity])
    return {f"bare{d}": bare[np.maximum(at - d, first)] for d in (1, 2)}
