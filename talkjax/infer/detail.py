"""High frequencies of a refined face: as many as the person's real pictures have.

A network that was trained for small errors blurs what it does not know. Part of its fine detail is exchanged
for a look-alike's, and what is there then is raised until the training frames are as sharp as they really
are.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from talkjax.infer import compose

SIGMA = 1 / 170  # of the crop's side: finer is detail
SHARE = 0.5  # of the look-alike's detail
TARGET = 1.04
"""Wanted variance of the Laplacian over the real one's; encoding the video takes about a tenth off."""
MOST = 1.0
_JUDGED_SIDE = 200  # px, at which a face is as large as in a video call


class Detail(NamedTuple):
    """`one`: share of the look-alike's detail in place of the picture's own; `gain`: how much that is
    raised."""

    one: float = SHARE
    gain: float = 0.0


def with_detail(
    picture: Float[np.ndarray, "s s 3"], one: UInt8[np.ndarray, "s s 3"], detail: Detail
) -> Float[np.ndarray, "s s 3"]:
    """A network's picture in [0, 1] with its high frequencies made up for."""
    return np.clip(picture + _change(picture, one, detail), 0, 1)


def _change(picture: np.ndarray, one: np.ndarray, detail: Detail) -> np.ndarray:
    wanted = (detail.gain - detail.one) * picture + detail.one * (one.astype(np.float32) / 255)
    return compose.high_pass(wanted, SIGMA * picture.shape[0])


def _laplacian(image: np.ndarray) -> np.ndarray:
    side = min(_JUDGED_SIDE, image.shape[0])
    small = cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F)


def fit_detail(
    pictures: Float[np.ndarray, "t s s 3"],
    ones: UInt8[np.ndarray, "t s s 3"],
    targets: UInt8[np.ndarray, "t s s 3"],
    faces: np.ndarray,
) -> Detail:
    """The gain at which refined training frames are as sharp as real ones.

    Args:
      pictures: of the network, of frames that it did not copy; ones: their look-alikes; targets: the real
        frames; faces: `[t s s]` bool.
    """
    own, raised, real = [], [], []
    for picture, one, target, face in zip(pictures, ones, targets, faces, strict=True):
        side = min(_JUDGED_SIDE, len(face))
        inside = cv2.resize(face.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA) > 0
        base = picture + _change(picture, one, Detail(gain=0.0))
        own.append(_laplacian(base)[inside])
        raised.append(_laplacian(compose.high_pass(picture, SIGMA * len(picture)))[inside])
        real.append(_laplacian(target.astype(np.float32) / 255)[inside])
    a, b, c = (np.concatenate(part).astype(np.float64) for part in (own, raised, real))
    # the variance is quadratic in the gain: var(b) g^2 + 2 cov(a, b) g + var(a) = TARGET var(c)
    square, line = b.var(), 2 * np.cov(a, b, bias=True)[0, 1]
    missing = TARGET * c.var() - a.var()
    if missing <= 0 or square <= 0:
        return Detail()
    gain = (-line + np.sqrt(line**2 + 4 * square * missing)) / (2 * square)
    return Detail(gain=float(np.clip(gain, 0, MOST)))
