"""From a refiner corpus to training rows of `tasks/refiner_lite` and `tasks/refiner_paper`.

Row r of step s is a pure function of (seed, s, r, global batch): rows walk through a permutation of the
usable frames, a fresh one each epoch; the shift and flip of a row have a random stream of its own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from talkjax.data.corpora.corpus import corpus_folder, examples
from talkjax.data.corpora.records import decoded, region_of
from talkjax.errors import InputError
from talkjax.infer.identity_feature import projected
from talkjax.infer.paper_refiner import ENLARGED
from talkjax.infer.training_data import SHIFT, error_weight
from talkjax.tasks.refiner_lite import OWN_NEIGHBOURHOOD, RefinerBatch, RefinerInputs
from talkjax.tasks.refiner_paper import PaperBatch

PRESETS = ("lite", "paper")


class RefinerSizes(NamedTuple):
    """What a refiner of the corpus needs to be built: side of the crop in pixels, numbers per frame, counts
    of the split."""

    size: int
    n_features: int
    n_values: int
    identities: int
    frames: int


def refiner_sizes(corpus: str | Path, split: str = "train") -> RefinerSizes:
    """Sizes of a refiner corpus, from its index alone."""
    _, index, _ = examples(corpus_folder(corpus), split, "refiner")
    counts = index["splits"][split]
    return RefinerSizes(
        counts["size"], index["n_features"], index["n_values"], counts["identities"], counts["frames"]
    )


class RefinerRows:
    """(step, row) -> one row of a `RefinerBatch` ("lite") or `PaperBatch` ("paper"), pictures as uint8.

    Args:
      corpus: built by a refiner builder.
      batch: the global batch; decides which frame a row meets.
      preset: "lite" or "paper".
      augment: random shift (lite), random crop and flip (paper).
      n_values: paper: length of the identity feature.
    """

    def __init__(
        self,
        corpus: str | Path,
        batch: int,
        seed: int,
        preset: str = "lite",
        *,
        split: str = "train",
        augment: bool = True,
        n_values: int = 512,
    ):
        if preset not in PRESETS:
            raise InputError(f"preset {preset!r}", expected=" or ".join(PRESETS))
        self.folder, self.split = corpus_folder(corpus), split
        self.batch, self.seed, self.preset, self.augment = batch, seed, preset, augment
        self.n_values = n_values
        self._open()

    def _open(self) -> None:
        self._reader, index, columns = examples(self.folder, self.split, "refiner")
        self.size: int = index["splits"][self.split]["size"]
        identity, frame = columns["identity"], columns["frame"]
        self._usable = np.flatnonzero(columns["valid"])
        if not len(self._usable):
            raise InputError(f"{self.folder}: no frame of {self.split} may be used", code="wrong_corpus")
        _, first, rank = np.unique(identity, return_index=True, return_inverse=True)
        self._first = first[rank]  # where each frame's identity begins
        # frames of different people are never neighbours in the memory
        self._source = rank * (int(frame.max()) + 1 + 2 * OWN_NEIGHBOURHOOD) + frame
        if self._source.max() > np.iinfo(np.int32).max:
            raise InputError(f"{self.folder}: too many identities of that length", expected="int32 numbers")
        self._order = functools.lru_cache(maxsize=2)(self._permutation)

    def __getstate__(self) -> dict[str, Any]:  # worker processes open the files themselves
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(self._usable)

    def place(self, step: int, row: int) -> int:
        """Which example of the split a row meets."""
        epoch, position = divmod(step * self.batch + row, len(self._usable))
        return int(self._order(epoch)[position])

    def __call__(self, step: int, row: int) -> Any:
        k = self.place(step, row)
        rng = np.random.default_rng([self.seed, 2, step, row])
        record = self._reader[k]
        before = [max(k - d, int(self._first[k])) for d in (2, 1)]
        bare = [decoded(r["bare"], self.size) for r in (*(self._reader[j] for j in before), record)]
        make = self._lite if self.preset == "lite" else self._paper
        return make(record, bare, rng, np.int32(self._source[k]))

    def _lite(self, record: Any, bare: list[np.ndarray], rng: np.random.Generator, source: Any) -> Any:
        most = max(round(SHIFT * self.size / 256), 1)
        dy, dx = rng.integers(-most, most + 1, 2) if self.augment else (0, 0)

        def moved(image: np.ndarray) -> np.ndarray:
            # wrapping is harmless: the face keeps its distance from the border
            return np.roll(image, (dy, dx), (0, 1)) if self.augment else image

        many, one, target = (decoded(record[name], self.size) for name in ("many", "one", "target"))
        region = region_of(record["region"], self.size)
        weight = error_weight(region)
        window = cv2.merge(bare)  # seven times as fast as np.concatenate
        inputs = RefinerInputs(moved(window), moved(many), moved(one), moved(region), record["features"])
        return RefinerBatch(inputs, moved(target), moved(weight), record["values"], source)

    def _paper(self, record: Any, bare: list[np.ndarray], rng: np.random.Generator, source: Any) -> Any:
        pictures = [*bare, decoded(record["target"], self.size)]
        if self.augment:
            larger = round(ENLARGED * self.size)
            y, x = rng.integers(0, larger - self.size + 1, 2)
            mirror = -1 if rng.random() < 0.5 else 1
            part = (slice(y, y + self.size), slice(x, x + self.size))
            # OpenCV's Lanczos, which the personal fit uses, takes 2.6 ms a picture; this 0.2
            large = [cv2.resize(p, (larger, larger), interpolation=cv2.INTER_CUBIC) for p in pictures]
            pictures = [np.ascontiguousarray(p[part][:, ::mirror]) for p in large]
        identity = projected(record["values"][None], self.n_values)[0]
        return PaperBatch(cv2.merge(pictures[:3]), pictures[3], identity, source)

    def pictures(self, count: int) -> np.ndarray:
        """`[n s s 3]` uint8 bare composites spread over the split, for `PaperRefinerTask.calibrated`."""
        some = self._usable[np.linspace(0, len(self._usable) - 1, count).astype(int)]
        return np.stack([decoded(self._reader[int(k)]["bare"], self.size) for k in some])
