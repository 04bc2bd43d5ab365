"""Reading and writing still pictures as uint8 RGB."""

from __future__ import annotations

import os

import cv2
import numpy as np

from talkjax.errors import InputError
from talkjax.media.container import Path, check_file, check_size, readable_name
from talkjax.media.writer import check_output, replacing

_SUFFIXES = (".png", ".jpg", ".jpeg")


def read_image(path: Path) -> np.ndarray:
    """Reads a picture as [h w 3] uint8 RGB; EXIF rotation applied, alpha dropped, 16 bits cut to 8.

    Raises:
      InputError: codes of `check_file`, not_media, too_large.
    """
    full = check_file(path)
    try:  # through bytes: the name may not be UTF-8
        image = cv2.imdecode(np.fromfile(full, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, OSError) as error:
        raise _not_an_image(path) from error
    if image is None:
        raise _not_an_image(path)
    check_size(image.shape[1], image.shape[0], path)
    return np.ascontiguousarray(image[..., ::-1])


def write_image(path: Path, image: np.ndarray, quality: int = 97) -> None:
    """Writes [h w 3] uint8 RGB as png or jpeg (4:4:4 chroma), by suffix; replaces an existing file whole.

    Raises:
      InputError: codes of `check_output`, write_failed.
      ValueError: not an [h w 3] uint8 array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"got {image.shape} {image.dtype}, an image is [h w 3] uint8")
    full = check_output(path, overwrite=True, suffixes=_SUFFIXES)
    suffix = os.path.splitext(full)[1].lower()
    flags = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    if flags:
        flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), flags)
    with replacing(path, full) as temporary:
        data.tofile(temporary)


def _not_an_image(path: Path) -> InputError:
    return InputError(f"{readable_name(path)} is not a picture", expected="png or jpeg", code="not_media")
