"""The refined face apart from its surroundings, at the size of the clip: what an editor composes again.

`background * (1 - alpha) + face * alpha` gives the ordinary output to within rounding (one grey level). The
background is the planned frame, warped to meet the new outline where it has to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from talkjax.infer import compose
from talkjax.infer.ahead import ahead
from talkjax.infer.layers import FrameSource, Motion
from talkjax.infer.person import Person
from talkjax.infer.personal_refiner import Refiner
from talkjax.infer.synthesis import RefinedFace, refined_faces
from talkjax.track.crop import paste_back, placed


class EditorLayers(NamedTuple):
    """One frame: face `[h w 4]` uint8 with straight alpha, and the background `[h w 3]` uint8 behind it."""

    face: np.ndarray
    background: np.ndarray

    def picture(self, name: str) -> np.ndarray:
        """What is written as layer `name`, `[h w 4]` uint8: `mask` and `background` are opaque."""
        if name == "face":
            return self.face
        color = self.background if name == "background" else np.repeat(self.face[..., 3:], 3, -1)
        return np.concatenate([color, np.full_like(color[..., :1], 255)], -1)


def editor_layers(
    person: Person, refiner: Refiner, motion: Motion, source: FrameSource
) -> Iterator[EditorLayers]:
    """The layers of all frames of a motion, in order; work runs ahead as in `synthesis.pictures`."""
    faces = ahead(refined_faces(person, refiner, motion, source))
    return ahead(separated(face) for face in faces)


def separated(refined: RefinedFace) -> EditorLayers:
    """Divides one output frame into face and background."""
    host, layers, center, side = refined.host, refined.layers, refined.center, refined.side
    shape = host.full.shape[:2]
    where = placed(refined.face * 255, layers.alpha, center, side, shape)
    if where is None:
        blank = np.zeros((*shape, 4), np.uint8)
        return EditorLayers(blank, host.full)
    window, color, alpha = where
    background = host.full
    seen = background[window].astype(np.float32)
    if host.warped is host.crop:
        blended = seen + alpha * (color - seen)
    else:  # the whole crop was pasted, faded at its border
        ramp = compose.crop_alpha(layers.alpha.shape[0])
        picture = compose.composite(refined.face, layers.background, layers.alpha)
        pasted = placed(picture * 255, ramp, center, side, shape)
        assert pasted is not None  # the same window
        _, picture, share = pasted
        blended = seen + share * (picture - seen)
        background = paste_back(host.full, layers.background * 255, ramp, center, side)
        seen, alpha = background[window].astype(np.float32), alpha * share
    rest = np.clip(blended, 0, 255) - seen
    # Resampling overshoots at highlights and rings at edges: a little more alpha makes up for that, where it
    # is more than rounding.
    room = np.maximum(np.where(rest > 0, 255 - seen, seen), 0.5)
    needed = ((np.abs(rest) - 0.5) / room).max(-1, keepdims=True)
    inside = (alpha > 0) | (np.abs(rest).max(-1, keepdims=True) > 1.4)
    alpha = np.where(inside, np.clip(needed, alpha, 1), 0)
    # rounded up: then the color lies between background and face, and is not amplified
    whole = np.ceil(alpha * 255 - 1e-3)
    exact = np.clip(seen + rest * (255 / np.maximum(whole, 1)) + 0.5, 0, 255)
    face = np.zeros((*shape, 4), np.uint8)
    face[window] = np.concatenate([np.where(whole > 0, exact, np.clip(color, 0, 255)), whole], -1)
    return EditorLayers(face, background)
