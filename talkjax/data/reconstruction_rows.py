"""Drawn faces as batches of the reconstruction task, from a folder or as they are needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from talkjax.data.face_shards import GROUP, FaceFolder, FaceRows, draw_group, joined
from talkjax.data.head_regions import FACE, skin_weight
from talkjax.data.synthetic_faces import FaceStage
from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.tasks.reconstruction import Measures, ReconstructionBatch, make_measures

FRONT_SPACING = 0.03
"""dm, of what the photometric term draws: one and a half pixels of a 112-pixel crop, half of the
triangles. Finer ones are smaller than a pixel, and show the term nothing more."""


def face_measures(stage: FaceStage, spacing: float = FRONT_SPACING) -> Measures:
    """What the losses need of an ICT-FaceKit head: lips and lids count double, the outline half.

    spacing: dm, of the vertices that the photometric term draws; 0: all of the front.
    """
    weights = np.ones(mesh468.N_MESH, np.float32)
    weights[mesh468.LIPS] = 2.0
    weights[mesh468.FACE_OVAL] = 0.5
    regions = stage.regions
    n = stage.model.mean.shape[0]
    front, skin = np.zeros(n, bool), np.zeros(n, bool)
    front[regions.verts] = (regions.part == FACE) & (regions.outward[:, 2] > -0.4)
    skin[regions.verts] = skin_weight(regions) > 0
    marks = weights[stage.landmarks.number]
    return make_measures(stage.model, front, skin, marks, stage.head_center, spacing)


def batch_of(rows: FaceRows, n_landmarks: int) -> ReconstructionBatch:
    """Rows with or without a leading axis, all of them known."""
    lead = np.shape(rows.focal)
    return ReconstructionBatch(
        **rows._asdict(),
        known=np.ones(lead, np.float32),
        landmarks=np.full((*lead, n_landmarks, 2), np.nan, np.float32),
    )


@dataclasses.dataclass(frozen=True)
class FolderRows:
    """(step, row of the global batch) -> row, every face once before any again; picklable."""

    folder: FaceFolder
    batch: int
    seed: int
    n_landmarks: int

    def __call__(self, step: int, row: int) -> ReconstructionBatch:
        epoch, place = divmod(step * self.batch + row, len(self.folder))
        number = _order(self.seed, epoch, len(self.folder))[place]
        return batch_of(self.folder.row(int(number)), self.n_landmarks)


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


@dataclasses.dataclass(frozen=True)
class DrawnInput:
    """Input of the training loop that draws its faces itself (`train.feed.TrainInput`)."""

    stage: FaceStage
    size: int
    batch: int
    seed: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch % (GROUP * self.process_count):
            raise InputError(
                f"batch {self.batch} over {self.process_count} processes",
                expected=f"a multiple of {GROUP * self.process_count} when faces are drawn as needed",
                code="bad_config",
            )

    def _rows(self, step: int, first: int, groups: int) -> ReconstructionBatch:
        at = step * (self.batch // GROUP) + first
        parts = [draw_group(self.stage, self.seed, at + g, self.size) for g in range(groups)]
        return batch_of(joined(parts), len(self.stage.landmarks.number))

    @property
    def spec(self) -> Any:
        group = self._rows(0, 0, 1)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.batch, *x.shape[1:]), x.dtype), group)

    def batches(self, first_step: int) -> Iterator[ReconstructionBatch]:
        groups = self.batch // GROUP // self.process_count
        step = first_step
        while True:
            yield self._rows(step, self.process_index * groups, groups)
            step += 1
