"""From a planned motion to full frames: layers, refinement, paste. `generate` and `evaluate` share it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from talkjax.infer import compose
from talkjax.infer.layers import FrameLayers, FrameSource, Motion
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


def pictures(
    person: Person, refiner: Refiner, motion: Motion, source: FrameSource, *, with_bare: bool = False
) -> Iterator[Picture]:
    """Full frames of a motion, one after the other."""
    layers_of = FrameLayers(person, motion, source, refiner.appearance)
    features = describe(person.model, motion.exp, motion.euler, motion.translation, motion.gaze)
    refine = refiner.sequence(features, layers_of)
    for k, host, layers in layers_of.frames():
        face = refine(k, layers)
        center, side = layers_of.crops.center[k], float(layers_of.crops.side[k])
        moved = host.warped is not host.crop

        def place(
            face: np.ndarray,
            *,
            full: np.ndarray = host.full,
            background: np.ndarray = layers.background,
            alpha: np.ndarray = layers.alpha,
            center: np.ndarray = center,
            side: float = side,
            moved: bool = moved,
        ) -> np.ndarray:
            if not moved:
                return paste_back(full, face * 255, alpha, center, side)
            # the background around the face was warped: the whole crop goes back, faded at its border
            picture = compose.composite(face, background, alpha)
            return paste_back(full, picture * 255, compose.crop_alpha(alpha.shape[0]), center, side)

        alpha = None
        if with_bare:
            blank = np.zeros_like(host.full)
            ones = np.ones((*layers.alpha.shape, 3), np.float32) * 255
            alpha = paste_back(blank, ones, layers.alpha, center, side)[..., 0].astype(np.float32) / 255
        yield Picture(place(face), place(layers.bare) if with_bare else None, host.full, alpha)
