"""What every triangle is asked before it is drawn: corners, area, box on the image, size class."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from talkjax.raster import size_classes
from talkjax.raster.scene import Scene
from talkjax.raster.snap import INVALID, ONE_PIXEL, Box, Corners, as_corners, max3, min3, pixel_box
from talkjax.raster.windows import double_area

WINDOWS = (4, 8, 16, 32)
"""Window sides of the small classes, px."""
LARGE_CLASS, CUT_CLASS = len(WINDOWS) + 1, len(WINDOWS) + 2
"""Classes 1 .. len(WINDOWS) are the small ones; then what is drawn as tiles, then what must be cut first."""
N_CLASSES = CUT_CLASS
SMALL_EXTENT = 64 * ONE_PIXEL
"""Largest side of a small triangle before it is cut to the image: its edge values fit int32."""
_LARGE, _CUT = WINDOWS[-1] + 1, WINDOWS[-1] + 2
"""Sides that stand for the last two classes."""


class Triangles(NamedTuple):
    """Corners, twice-area (garbage for large ones), box and class (0: not drawn) of each triangle."""

    corners: Corners
    area: Int[Array, "n"]
    box: Box
    size_class: Int[Array, "n"]


def classify(scene: Scene, gathered: Int[Array, "3 n 4"]) -> Triangles:
    """Says what the triangles with these snapped vertex rows are."""
    corners, flags = as_corners(gathered), gathered[:, :, 3]
    any_flag, all_flags = flags[0] | flags[1] | flags[2], flags[0] & flags[1] & flags[2]
    box = pixel_box(corners, scene.height, scene.width)
    area = double_area(corners)
    extent = jnp.maximum(max3(corners.x) - min3(corners.x), max3(corners.y) - min3(corners.y))
    side = jnp.maximum(box.right - box.left, box.bottom - box.top) + 1
    # on the image a huge triangle may show a small corner only: int32 is a question of the whole extent
    large = (side > WINDOWS[-1]) | (extent > SMALL_EXTENT)
    facing = (area < 0) if scene.cull else (area != 0)
    drawn = (box.left <= box.right) & (box.top <= box.bottom) & (any_flag == 0) & (large | facing)
    side = jnp.where(drawn, jnp.where(large, _LARGE, side), 0)
    # cut what is partly outside; all of it beyond one plane, or one bad vertex: nothing to see
    is_cut = (any_flag != 0) & (all_flags == 0) & ((any_flag & INVALID) == 0)
    side = jnp.where(is_cut, _CUT, side)
    return Triangles(corners, area, box, size_classes.classify(side, (*WINDOWS, _LARGE, _CUT)))
