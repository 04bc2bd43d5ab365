"""Opening media files safely: checks before decoding, and one kind of error after it.

Everything that reads a user's file goes through here: any bytes end as a value or as an `InputError`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from talkjax.errors import InputError

Path = str | bytes | os.PathLike

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,mp3,flac,ogg"
"""Demuxers that may run. Playlists (ffconcat, HLS) are left out: they open other local files."""

MAX_SIDE = 4096
MAX_FPS = 240

# What PyAV raises on damaged files: its own errors, and plain Python ones such as UnicodeDecodeError.
DECODE_FAULTS = (
    av.FFmpegError,
    ValueError,
    OSError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
)


def readable_name(path: Path) -> str:
    """A printable form of any path, including bytes and names that are not UTF-8."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")


def check_file(path: Path) -> str:
    """Returns the absolute path of a regular, readable, non-empty file.

    Raises:
      InputError: codes missing_file, directory, not_a_file, unreadable, empty_file.
    """
    name = readable_name(path)
    try:
        full = os.path.abspath(os.fsdecode(path))
        info = os.stat(full)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte inside the name
        raise InputError(
            f"no such file: {name!r}", fix="check the path and its permissions", code="missing_file"
        ) from error
    if stat.S_ISDIR(info.st_mode):
        raise InputError(f"{name} is a folder", expected="a media file", code="directory")
    if not stat.S_ISREG(info.st_mode):
        raise InputError(f"{name} is not a regular file", expected="a media file", code="not_a_file")
    if not os.access(full, os.R_OK):
        raise InputError(f"{name} cannot be read", fix="check its permissions", code="unreadable")
    if info.st_size == 0:
        raise InputError(f"{name} is empty (0 bytes)", fix="copy or download it again", code="empty_file")
    return full


@contextlib.contextmanager
def faults_as_input_errors(path: Path, doing: str, code: str = "decode_error") -> Iterator[None]:
    """Turns whatever PyAV raises on damaged data into `InputError(code)`; `doing` says what failed."""
    try:
        yield
    except DECODE_FAULTS as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{readable_name(path)}: {doing} failed ({what.splitlines()[0][:120]})",
            expected="an intact video or audio file (mp4, mov, mkv, webm, avi, wav, mp3, flac, ogg)",
            fix="copy or download it again, or convert it to mp4 or wav",
            code=code,
        ) from error


@contextlib.contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Opens a checked file for reading and closes it; only local files of the whitelisted formats.

    Raises:
      InputError: codes of `check_file`, or not_media.
    """
    full = check_file(path)
    with faults_as_input_errors(path, "opening", code="not_media"):
        container = av.open(
            full,
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="ignore",  # else damaged tags raise UnicodeDecodeError
        )
    try:
        yield container
    finally:
        container.close()


def video_stream(container: Any) -> Any | None:
    """The first real video stream (cover art of a song is none), or None."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def audio_stream(container: Any) -> Any | None:
    """The first audio stream that has a decoder, or None."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def require_video(container: Any, path: Path) -> Any:
    """The video stream, its announced size and rate within bounds, its decoder set to refuse larger frames.

    Raises:
      InputError: codes no_video, too_large.
    """
    stream = video_stream(container)
    name = readable_name(path)
    if stream is None or not stream.width or not stream.height:
        raise InputError(f"{name} has no picture", expected="a video with one person's face", code="no_video")
    check_size(stream.width, stream.height, path)
    rate = stream.average_rate
    if rate is not None and rate > MAX_FPS:
        raise InputError(
            f"{name} announces {float(rate):.0f} frames per second",
            expected=f"at most {MAX_FPS}",
            fix="convert it to 25 frames per second",
            code="too_large",
        )
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = max(1, min(4, os.cpu_count() or 1))  # each thread holds a frame
    return stream


def check_size(width: int, height: int, path: Path) -> None:
    """Raises InputError(too_large) for a picture with a side over `MAX_SIDE`."""
    if width > MAX_SIDE or height > MAX_SIDE:
        raise InputError(
            f"{readable_name(path)} has {width}x{height} pixels",
            expected=f"at most {MAX_SIDE}x{MAX_SIDE}",
            fix="scale it down",
            code="too_large",
        )


def seconds(stamp: int | None, time_base: Fraction | None) -> Fraction | None:
    """Exact time in seconds of a timestamp, or None where the file gives none."""
    return None if stamp is None or time_base is None else stamp * Fraction(time_base)
