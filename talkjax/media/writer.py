"""Writing H.264 + AAC mp4 files frame by frame, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import types
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Self

import av
import numpy as np
import soxr

from talkjax.errors import InputError
from talkjax.media.container import DECODE_FAULTS, Path, readable_name

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_BLOCK = 1024  # samples per AAC frame
_BT709 = 1  # ITU-T H.273 code for primaries, transfer and matrix alike
_TV_RANGE = 1


def check_output(path: Path, *, overwrite: bool = False, suffixes: tuple[str, ...] = ()) -> str:
    """Returns the absolute path of a file that can be written, having tried its folder.

    Raises:
      InputError: codes bad_suffix, exists, no_folder, unwritable.
    """
    name = readable_name(path)
    full = os.path.abspath(os.fsdecode(path))
    if suffixes and os.path.splitext(full)[1].lower() not in suffixes:
        raise InputError(
            f"cannot write {name}", expected=f"a name ending in {' or '.join(suffixes)}", code="bad_suffix"
        )
    if os.path.isdir(full):
        raise InputError(f"{name} is a folder", expected="a file name to write", code="exists")
    if os.path.exists(full) and not overwrite:
        raise InputError(
            f"{name} exists already", fix="give another name or allow overwriting", code="exists"
        )
    folder = os.path.dirname(full)
    if not os.path.isdir(folder):
        raise InputError(
            f"the folder of {name} does not exist", fix="create the folder first", code="no_folder"
        )
    trial = temporary_name(full)
    try:
        with open(trial, "wb"):
            pass
        os.remove(trial)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write into the folder of {name} ({error})",
            fix="check the folder's permissions and free space",
            code="unwritable",
        ) from error
    return full


def temporary_name(full: str) -> str:
    """The name under which a file is written before `os.replace`: same folder, `<stem>.tmp-<pid><suffix>`."""
    stem, suffix = os.path.splitext(full)
    return f"{stem}.tmp-{os.getpid()}{suffix}"


@contextlib.contextmanager
def replacing(path: Path, full: str) -> Iterator[str]:
    """A temporary name to write; the file appears as `full` when the block ends well, or nothing is left.

    Args:
      path: as the user wrote it, for messages. full: of `check_output`.

    Raises:
      InputError: write_failed.
    """
    temporary = temporary_name(full)
    try:
        yield temporary
        os.replace(temporary, full)
    except OSError as error:
        raise InputError(
            f"writing {readable_name(path)} failed ({error})", fix="check the free space", code="write_failed"
        ) from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


class VideoWriter:
    """Writes one mp4 (H.264 yuv420p, BT.709, and AAC) as a context manager; in constant memory.

    The file appears under its name only when the block ends well; on any exception, Ctrl-C included,
    nothing is left. Sound and pictures are interleaved as they are encoded. The whole of `audio` is written:
    give as many seconds of it as of pictures.

    4:2:0 needs even sides: an odd width or height is padded by repeating the last column or row.

    Args:
      path: ends in .mp4; its folder must exist and be writable.
      width, height: pixels of the frames to come.
      fps: frames per second.
      audio: (wav [n] float32 in [-1, 1], rate in Hz), or None.
      crf: x264 quality, 0 (lossless) to 51.
      metadata: tags to store; any names (PyAV reads them back as `container.metadata`).
      overwrite: replace an existing file.
      preset: x264 speed, e.g. `veryfast`, `fast`.

    Raises:
      InputError: codes of `check_output`, at once; write_failed later (e.g. the disk is full).
      ValueError: a frame of wrong shape or dtype, a bad `audio`, or no frame at all.
    """

    SUFFIXES: tuple[str, ...] = (".mp4",)
    CHANNELS = 3

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        *,
        fps: float = 25.0,
        audio: tuple[np.ndarray, int] | None = None,
        crf: int = 18,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        preset: str = "veryfast",
    ):
        if width < 1 or height < 1:
            raise ValueError(f"a video of {width}x{height} pixels")
        self._name = readable_name(path)
        self._full = check_output(path, overwrite=overwrite, suffixes=self.SUFFIXES)
        self._temporary = temporary_name(self._full)
        self._size = width, height
        self._rate = Fraction(fps).limit_denominator(1001)
        self._options = {"crf": str(crf), "preset": preset}
        self._tags = {key: str(value) for key, value in (metadata or {}).items()}
        self._wav, self._wav_rate = np.zeros(0, np.float32), 0
        if audio is not None:
            self._wav, self._wav_rate = _aac_ready(*audio)
        self._container: Any = None
        self.n_frames = 0

    def __enter__(self) -> Self:
        with self._faults():
            self._container = self._open()
            try:
                self._container.metadata.update(self._tags)
                self._video = self._add_video()
                self._audio = self._add_audio() if self._wav_rate else None
                self._audio_at = 0
            except BaseException:
                self._discard()
                raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Appends one frame, [height width 3] uint8 RGB, and the sound that goes with it."""
        width, height = self._size
        wanted = (height, width, self.CHANNELS)
        if frame.shape != wanted or frame.dtype != np.uint8:
            raise ValueError(f"got a frame {frame.shape} {frame.dtype}, the video takes {wanted} uint8")
        if width % 2 or height % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._faults():
            picture = self._picture(np.ascontiguousarray(frame))
            picture.pts, picture.time_base = self.n_frames, 1 / self._rate
            self._container.mux(self._video.encode(picture))
            self.n_frames += 1
            self._write_sound(until=int(self.n_frames / self._rate * self._wav_rate))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if not self.n_frames:
                    raise ValueError("no frame was written")
                with self._faults():
                    self._container.mux(self._video.encode(None))
                    self._write_sound(until=len(self._wav), last=True)
                    self._container.close()
                    os.replace(self._temporary, self._full)
        finally:
            self._discard()

    def _open(self) -> Any:
        options = {"movflags": "use_metadata_tags+faststart"}  # any tag name; index before the data
        return av.open(self._temporary, "w", format="mp4", options=options)

    def _picture(self, frame: np.ndarray) -> Any:
        rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
        return rgb.reformat(format="yuv420p", dst_colorspace="itu709")

    def _add_video(self) -> Any:
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        self._mark_colors(stream)
        return stream

    def _mark_colors(self, stream: Any) -> None:
        context = stream.codec_context
        context.time_base = 1 / self._rate
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _TV_RANGE
        context.thread_count = max(1, min(8, os.cpu_count() or 1))

    def _add_audio(self) -> Any:
        stream = self._container.add_stream("aac", rate=self._wav_rate, layout="mono")
        stream.bit_rate = 128_000 if self._wav_rate >= 32_000 else 96_000
        return stream

    def _write_sound(self, until: int, last: bool = False) -> None:
        """Encodes whole AAC blocks up to sample `until`; with `last`, the rest and the encoder's delay."""
        if self._audio is None:
            return
        while self._audio_at + (1 if last else _AAC_BLOCK) <= min(until, len(self._wav)):
            block = self._wav[self._audio_at : self._audio_at + _AAC_BLOCK]
            frame = self._sound(block)
            frame.sample_rate, frame.pts = self._wav_rate, self._audio_at
            frame.time_base = Fraction(1, self._wav_rate)
            self._container.mux(self._audio.encode(frame))
            self._audio_at += len(block)
        if last:
            self._container.mux(self._audio.encode(None))

    def _sound(self, block: np.ndarray) -> Any:
        return av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")

    def _discard(self) -> None:
        """Closes what is open and removes the temporary file, if they are still there."""
        if self._container is not None:
            with contextlib.suppress(*DECODE_FAULTS):  # already failing: the first error is the one to tell
                self._container.close()
            self._container = None
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._temporary)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise InputError(
                f"writing {self._name} failed ({str(error).splitlines()[0][:120]})",
                fix="check the disk's free space and the folder's permissions",
                code="write_failed",
            ) from error


def _aac_ready(wav: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """Mono float32 [n] at a rate that AAC knows (48 kHz for others)."""
    wav = np.asarray(wav, np.float32)
    if wav.ndim != 1 or rate <= 0 or not np.isfinite(wav).all():
        raise ValueError(f"audio must be finite, [n], with a rate in Hz; got {wav.shape} at {rate}")
    if rate not in _AAC_RATES:
        wav, rate = soxr.resample(wav, rate, 48_000), 48_000
    return np.ascontiguousarray(np.clip(wav, -1, 1)), int(rate)
