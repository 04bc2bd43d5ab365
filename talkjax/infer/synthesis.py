"""From a planned motion to full frames: layers, refinement, paste. `generate` and `evaluate` share it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from talkjax.infer import compose
from talkjax.infer.ahead import ahead
from talkjax.infer.layers import FrameLayers, FrameSource, HostPart, Layers, Motion
from talkjax.infer.person import Person, describe
from talkjax.infer.personal_refiner import Refiner
from talkjax.track.crop import paste_back


class Picture(NamedTuple):
    """One output frame `[h w 3]` uint8: the result, the bare render in its place (when asked for), the
    untouched background, and how much of each pixel was pasted (`[h w]` in [0, 1], when asked for)."""

    result: np.ndarray
    bare: np.ndarray | None
    background: np.ndarray
    alpha: np.ndarray | None


class RefinedFace(NamedTuple):
    """One frame before pasting: refined face `[s s 3]` in [0, 1] of the crop at `center` with `side` (pixels
    of the frame), and what it was made from."""

    face: np.ndarray
    host: HostPart
    layers: Layers
    center: np.ndarray
    side: float


def pictures(
    person: Person, refiner: Refiner, motion: Motion, source: FrameSource, *, with_bare: bool = False
) -> Iterator[Picture]:
    """Full frames of a motion, one after the other.

    Preparing, refining and pasting run beside each other and beside the consumer, each in a thread.
    """
    faces = ahead(refined_faces(person, refiner, motion, source))
    return ahead(pasted(face, with_bare) for face in faces)


def refined_faces(
    person: Person, refiner: Refiner, motion: Motion, source: FrameSource
) -> Generator[RefinedFace, None, None]:
    """The faces of a motion, before they are pasted."""
    layers_of = FrameLayers(person, motion, source, refiner.appearance)
    features = describe(person.model, motion.exp, motion.euler, motion.translation, motion.gaze)
    refine = refiner.sequence(features, layers_of)
    for k, host, layers in layers_of.frames():
        center, side = layers_of.crops.center[k], float(layers_of.crops.side[k])
        yield RefinedFace(refine(k, layers), host, layers, center, side)


def pasted(refined: RefinedFace, with_bare: bool = False) -> Picture:
    """The output frame of a refined face; `Picture.bare` and `alpha` only `with_bare`."""
    host, layers, center, side = refined.host, refined.layers, refined.center, refined.side

    def place(face: np.ndarray) -> np.ndarray:
        if host.warped is host.crop:
            return paste_back(host.full, face * 255, layers.alpha, center, side)
        # the background around the face was warped: the whole crop goes back, faded at its border
        picture = compose.composite(face, layers.background, layers.alpha)
        alpha = compose.crop_alpha(layers.alpha.shape[0])
        return paste_back(host.full, picture * 255, alpha, center, side)

    if not with_bare:
        return Picture(place(refined.face), None, host.full, None)
    ones = np.ones((*layers.alpha.shape, 3), np.float32) * 255
    alpha = paste_back(np.zeros_like(host.full), ones, layers.alpha, center, side)[..., 0]
    return Picture(place(refined.face), place(layers.bare), host.full, alpha.astype(np.float32) / 255)
