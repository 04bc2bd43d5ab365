"""What every triangle is asked before it is drawn: corners, area, box on the image, size class."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from talkjax.raster.scene import Scene
from talkjax.raster.snap import INVALID, ONE_PIXEL, Box, Corners, as_corners, max3, min3, pixel_box
from talkjax.raster.windows import double_area

N_WINDOWS = 4
LARGE_CLASS, CUT_CLASS = N_WINDOWS + 1, N_WINDOWS + 2
"""Classes 1 .. N_WINDOWS are the small ones; then what is drawn as tiles, then what must be cut first."""
N_CLASSES = CUT_CLASS
SMALL_EXTENT = 64 * ONE_PIXEL
"""Largest side of a small triangle before it is cut to the image: its edge values fit int32."""


def windows(n_faces: int) -> tuple[tuple[int, int], ...]:
    """Width and height of the windows of the small classes, px; each holds the one before.

    Every pixel of a window is tested, and rows cost more than what lies in them: the finer the mesh,
    the lower the first windows. Chosen by time on CPU; ids do not depend on it.
    """
    if n_faces > 24_576:
        return (4, 1), (4, 2), (4, 4), (32, 32)
    if n_faces > 4096:
        return (4, 2), (4, 4), (8, 6), (16, 16)
    return (4, 4), (8, 8), (16, 16), (32, 32)


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
    across, down = box.right - box.left + 1, box.bottom - box.top + 1
    fitting = windows(scene.n_faces)
    # on the image a huge triangle may show a small corner only: int32 is a question of the whole extent
    large = (across > fitting[-1][0]) | (down > fitting[-1][1]) | (extent > SMALL_EXTENT)
    facing = (area < 0) if scene.cull else (area != 0)
    drawn = (box.left <= box.right) & (box.top <= box.bottom) & (any_flag == 0) & (large | facing)
    # counting what it does not fit is a compare and an add each; a chain of selects stays scalar code
    size_class = jnp.ones_like(across)
    for width, height in fitting[:-1]:
        size_class += ((across > width) | (down > height)).astype(jnp.int32)
    size_class = jnp.where(drawn, jnp.where(large, LARGE_CLASS, size_class), 0)
    # cut what is partly outside; all of it beyond one plane, or one bad vertex: nothing to see
    is_cut = (any_flag != 0) & (all_flags == 0) & ((any_flag & INVALID) == 0)
    return Triangles(corners, area, box, jnp.where(is_cut, CUT_CLASS, size_class))
