"""What both sides of an exported file agree on: names, sizes and the numbers of the calling convention.

A program is called with two or three flat dicts of arrays: its constants (by the names in the file), its
state where it has one, and its inputs; it gives a new state and its outputs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

FORMAT = "talkjax-export"
FORMAT_VERSION = 1
CONVENTION = 2
"""Raised when a program's inputs, outputs or the order of calls change."""

BLOCK = 8
"""Frames for which look-alikes are chosen at once."""
LOOKAHEAD = 8
"""Frames that the choice sees beyond those that it gives out. On the development clip the choices are then
those of the whole video."""
SAMPLES = 640
"""Samples of 16 kHz sound per frame."""

PROGRAMS: dict[str, tuple[tuple[str, ...], bool]] = {
    "sound": (("mapping",), True),
    "choose": (("face", "look"), True),
    "shape": (("face", "bank"), False),
    "layers": ((), False),
    "refine": (("refiner",), True),
    "paste": ((), False),
}
"""Name -> (groups of constants, whether it has a state). In the order of calls."""
FIXED = ("sound", "shape", "layers")
"""Lowered for the sizes that a session uses, not with symbols for time and batch: the steps of the rasterizer
depend on the batch, and filters and gathers over any number of frames differ in last bits from jit's."""
PLATFORMS = ("cpu", "cuda", "tpu")


def draw_batch(platform: str) -> int:
    """Frames drawn at once. On a CPU a loop over them would keep XLA to a single thread."""
    return 1 if platform == "cpu" else BLOCK


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """Static sizes of the programs of one file.

    width, height: of the whole picture; crop_size: side of the head crop; fine: side at which the crop is cut
    before averaging (crop_size: no averaging); texture_size: side of the albedo texture; paste_size: side of
    the part of the picture that is pasted; n_exp: expression axes; mapping, refiner: presets;
    refiner_settings: of its task; detail_one, detail_gain: see `detail.Detail`; sound_block: frames
    of sound per call; delay, lead: see `nets/mapping_stream`.
    """

    width: int
    height: int
    crop_size: int
    fine: int
    texture_size: int
    paste_size: int
    n_exp: int
    mapping: str
    refiner: str
    refiner_settings: dict[str, Any]
    detail_one: float
    detail_gain: float
    sound_block: int
    delay: int
    lead: int
    block: int = BLOCK
    lookahead: int = LOOKAHEAD
