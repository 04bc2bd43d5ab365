"""Identity distance of a result, by an embedding that its refiner was not trained with.

Two are at hand (docs/identity_card.md says what they can tell apart): the small embedding trained on drawn
people, better, but the values of the `paper` preset's memory; and what the small reconstruction network says
of bones and skin, which no refiner sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from talkjax.evaluate.identity import identity_figures
from talkjax.evaluate.meter import plain
from talkjax.infer.identity_feature import embed, small_embedding
from talkjax.infer.person import Segment
from talkjax.track.crop import cut
from talkjax.track.regressed import face_squares, small_network
from talkjax.types import Camera

EVERY = 4
"""Neighboring frames say nearly the same."""
DRAWN_PEOPLE = "small embedding, trained on drawn people"
SHAPE_AND_SKIN = "shape and skin by the small reconstruction network"


def embedding_for(preset: str) -> str:
    """The one that a refiner of this preset was not trained with."""
    return SHAPE_AND_SKIN if preset == "paper" else DRAWN_PEOPLE


def face_rows(
    embedding: str,
    landmarks: Float[np.ndarray, "t 478 3"],
    valid: Bool[np.ndarray, "t"],
    camera: Camera,
    frames: Iterable[np.ndarray],
) -> Float[np.ndarray, "n f"]:
    """Embeddings of those of the frames `[h w 3]` uint8 that have a face; `landmarks` in px."""
    squares, seen = face_squares(landmarks, valid, camera)
    side = (small_network() if embedding == SHAPE_AND_SKIN else small_embedding())[1]["side"]
    faces = [
        cut(frame, squares.center[k], float(squares.side[k]), side)
        for k, frame in enumerate(frames)
        if seen[k]
    ]
    if not faces:
        return np.zeros((0, 1), np.float32)
    if embedding == DRAWN_PEOPLE:
        return embed(small_embedding()[0], faces)
    answer = small_network()[0]

    def shape_and_skin(pictures: np.ndarray) -> np.ndarray:
        said = answer(pictures)
        return np.concatenate([np.asarray(said.id_coeffs), np.asarray(said.tex_coeffs)], -1)

    return embed(shape_and_skin, faces)


@dataclasses.dataclass(frozen=True)
class IdentityMeter:
    """Embeddings of the clip's two halves, against which results are measured."""

    embedding: str
    camera: Camera
    training: np.ndarray
    heldout: np.ndarray

    @classmethod
    def of(cls, embedding: str, camera: Camera, training: Segment, heldout: Segment) -> IdentityMeter:
        """Reads every fourth frame of both halves."""
        halves = []
        for half in (training, heldout):
            index = range(0, len(half), EVERY)
            frames = (half.frame(k) for k in index)
            halves.append(face_rows(embedding, half.landmarks[index], half.valid[index], camera, frames))
        return cls(embedding, camera, *halves)

    def figures(
        self, frames: Iterable[np.ndarray], landmarks: np.ndarray, valid: np.ndarray
    ) -> dict[str, Any]:
        """`identity.identity_figures` of a result: all its frames, and what was tracked in them."""
        width, height = (round(2 * float(c)) for c in np.asarray(self.camera.center))
        chosen = (frame[:height, :width] for frame in islice(frames, 0, len(landmarks), EVERY))
        rows = face_rows(self.embedding, landmarks[::EVERY], valid[::EVERY], self.camera, chosen)
        about = {"embedding": self.embedding, "frames": len(rows)}
        if not (len(rows) and len(self.heldout) and len(self.training)):
            return about
        return plain(identity_figures(rows, self.heldout, self.training)) | about
