"""What the personal refiner learns from: layers of every usable training frame beside the real crop."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from talkjax.infer import compose
from talkjax.infer.appearance import Appearance
from talkjax.infer.layers import FrameLayers, Layers, Motion
from talkjax.infer.person import Person, Segment
from talkjax.infer.retrieval import gaze_of
from talkjax.progress import SILENT, Progress
from talkjax.tasks.refiner_lite import RefinerBatch, RefinerInputs
from talkjax.types import EYES, MOUTH

WINDOW = 3
SHIFT = 8  # pixels of random shift
DETAIL_WEIGHT = 2.0  # extra error weight of mouth and eyes
OUTSIDE_WEIGHT = 0.05  # of surroundings, which are never pasted


def to_bytes(image: np.ndarray) -> np.ndarray:
    """[0, 1] float to uint8, rounded."""
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def own_motion(segment: Segment) -> Motion:
    """The segment's own tracking as motion: drive `tracked` of protocol.md."""
    return Motion(
        exp=segment.exp,
        euler=segment.euler,
        translation=segment.translation,
        sh=segment.sh,
        gaze=gaze_of(segment.landmarks),
        source=np.arange(len(segment)),
    )


def error_weight(region: np.ndarray) -> np.ndarray:
    """uint8 `[s s]`: little outside the face, 1 on it, more around mouth and eyes; scaled to 255."""
    scale = region.shape[0] / 256

    def grown(mask: np.ndarray, reach: float) -> np.ndarray:
        side = 2 * round(reach * scale) + 1
        # as bytes: a third quicker than as floats
        return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(np.float32)

    detail = grown((region == MOUTH) | (region == EYES), 8)
    weight = OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * grown(region >= 0, 4) + DETAIL_WEIGHT * detail
    return (weight * 255 / (1 + DETAIL_WEIGHT) + 0.5).astype(np.uint8)


def composites(layers: Layers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bare, many, one over the background, uint8 `[s s 3]` each."""
    bare, many, one = (
        to_bytes(compose.composite(face, layers.background, layers.alpha))
        for face in (layers.bare, layers.many, layers.one)
    )
    return bare, many, one


@dataclasses.dataclass(frozen=True)
class RefinerData:
    """All arrays have one row per training frame: bare, many, one, target `[t s s 3]` uint8; region
    `[t s s]` int8; weight `[t s s]` uint8; valid `[t]`; features `[t f]`; values `[t v]`."""

    bare: np.ndarray
    many: np.ndarray
    one: np.ndarray
    target: np.ndarray
    region: np.ndarray
    weight: np.ndarray
    valid: np.ndarray
    features: np.ndarray
    values: np.ndarray

    def window(self, k: int) -> np.ndarray:
        """Bare composites of frames k-2, k-1, k `[s s 9]`; the first stands in for those before it."""
        return np.concatenate([self.bare[max(k - d, 0)] for d in (2, 1, 0)], axis=-1)

    def inputs(self, frames: np.ndarray) -> RefinerInputs:
        """What the generator sees of the given frames."""
        window = np.stack([self.window(int(k)) for k in frames])
        return RefinerInputs(
            window, self.many[frames], self.one[frames], self.region[frames], self.features[frames]
        )

    def batch(self, rng: np.random.Generator, frames: np.ndarray) -> RefinerBatch:
        """A batch of the given frames, each shifted by a random few pixels."""
        rows = []
        for k in frames:
            dy, dx = rng.integers(-SHIFT, SHIFT + 1, 2)

            def moved(image: np.ndarray, dy: int = int(dy), dx: int = int(dx)) -> np.ndarray:
                # wrapping is harmless: the face keeps its distance from the border
                return np.roll(image, (dy, dx), (0, 1))

            images = (
                self.window(k),
                self.many[k],
                self.one[k],
                self.region[k],
                self.target[k],
                self.weight[k],
            )
            rows.append([moved(image) for image in images])
        window, many, one, region, target, weight = (np.stack(column) for column in zip(*rows, strict=True))
        inputs = RefinerInputs(window, many, one, region, self.features[frames])
        return RefinerBatch(inputs, target, weight, self.values[frames], frames.astype(np.int32))


def build_refiner_data(
    person: Person,
    appearance: Appearance,
    features: np.ndarray,
    values: np.ndarray,
    progress: Progress = SILENT,
) -> RefinerData:
    """Renders the layers of all training frames; each frame borrows only from others."""
    segment, size = person.train, person.crop_size
    t = len(segment)
    frames = FrameLayers(person, own_motion(segment), segment, appearance, np.arange(t))
    images = {name: np.zeros((t, size, size, 3), np.uint8) for name in ("bare", "many", "one", "target")}
    region = np.zeros((t, size, size), np.int8)
    weight = np.zeros((t, size, size), np.uint8)
    with progress("training data", t) as ticker:
        for k, host, layers in frames.frames():
            images["bare"][k], images["many"][k], images["one"][k] = composites(layers)
            images["target"][k] = host.crop
            region[k] = layers.region
            weight[k] = error_weight(layers.region)
            ticker.update(1)
    return RefinerData(
        region=region, weight=weight, valid=segment.valid, features=features, values=values, **images
    )
