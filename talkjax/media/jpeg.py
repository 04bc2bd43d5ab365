"""Reading jpeg pictures from memory with PyAV alone, for programs that do without OpenCV."""

from __future__ import annotations

import av
import numpy as np

from talkjax.errors import InputError
from talkjax.media.container import DECODE_FAULTS, MAX_SIDE, check_size


def decode_jpeg(data: bytes, name: str = "picture") -> np.ndarray:
    """A jpeg file's bytes as [h w 3] uint8 RGB; like `read_image` up to one or two levels of rounding.

    Args:
      name: what an error calls it.

    Raises:
      InputError: codes not_media, too_large.
    """
    try:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        check_size(frames[0].width, frames[0].height, name)
        return np.ascontiguousarray(frames[0].to_ndarray(format="rgb24", interpolation="POINT"))
    except InputError:
        raise
    except DECODE_FAULTS as error:
        raise InputError(f"{name} is not a picture", expected="an intact jpeg", code="not_media") from error
