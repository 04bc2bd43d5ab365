"""Writing pictures with transparency for editors: a folder of PNG files, ProRes 4444 (.mov) or VP9 (.webm).

Alpha is straight (not premultiplied): `alpha * color + (1 - alpha) * background` is the composite.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
import types
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import av
import cv2
import numpy as np

from talkjax.errors import InputError
from talkjax.media.container import Path, readable_name
from talkjax.media.output_folder import check_output_folder, replacing_folder
from talkjax.media.writer import VideoWriter, check_output

MARKER = "talkjax.json"
"""In a folder of pictures: its record, and the sign that the folder may be replaced."""
_VIDEO_SUFFIXES = (".mov", ".webm")


def check_layer_output(path: Path, *, overwrite: bool = False) -> pathlib.Path:
    """The absolute path of a layer that can be written; missing folders above it are made.

    A name ends in .mov or .webm, or is a folder's (no suffix, a trailing slash, or it exists).

    Raises:
      InputError: codes bad_suffix, and those of `check_output` and `check_output_folder`.
    """
    name = os.fsdecode(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _VIDEO_SUFFIXES:
        with contextlib.suppress(OSError):  # if this fails, the check below says why
            pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
        return pathlib.Path(check_output(path, overwrite=overwrite))
    if suffix and not name.endswith(("/", os.sep)) and not os.path.isdir(name):
        reasons = {".mp4": "mp4 has no alpha", ".png": "one PNG holds one frame"}
        raise InputError(
            f"cannot write a layer to {readable_name(path)}: {reasons.get(suffix, 'unknown format')}",
            fix="use .mov, .webm or a folder (of PNG files)",
            code="bad_suffix",
        )
    return check_output_folder(path, marker=MARKER, overwrite=overwrite)


def open_layer(
    path: pathlib.Path,
    width: int,
    height: int,
    *,
    name: str,
    audio: tuple[np.ndarray, int],
    metadata: Mapping[str, str],
    overwrite: bool = False,
) -> AlphaVideoWriter | PictureFolder:
    """The writer for a path of `check_layer_output`; both take RGBA `[height width 4]` uint8 frames.

    Args:
      name: of the layer: `face`, `mask` or `background`.
      audio: as for `VideoWriter`; a folder has no sound.
    """
    if path.suffix.lower() in _VIDEO_SUFFIXES:
        return AlphaVideoWriter(path, width, height, audio=audio, metadata=metadata, overwrite=overwrite)
    return PictureFolder(path, name, metadata)


class AlphaVideoWriter(VideoWriter):
    """Writes RGBA frames as ProRes 4444 with PCM sound (.mov, 10 bits per channel) or VP9 with Opus (.webm).

    Arguments and errors as `VideoWriter`. VP9 halves the color's resolution, not the alpha's, and is made for
    small files; most players show it without the alpha, editors and browsers with it.
    """

    SUFFIXES = _VIDEO_SUFFIXES
    CHANNELS = 4

    @property
    def _is_mov(self) -> bool:
        return self._full.lower().endswith(".mov")

    def _open(self) -> Any:
        if self._is_mov:
            options = {"movflags": "use_metadata_tags+faststart"}
            return av.open(self._temporary, "w", format="mov", options=options)
        return av.open(self._temporary, "w", format="webm")

    def _picture(self, frame: np.ndarray) -> Any:
        rgba = av.VideoFrame.from_ndarray(frame, format="rgba")
        kind = "yuva444p10le" if self._is_mov else "yuva420p"
        return rgba.reformat(format=kind, dst_colorspace="itu709")

    def _add_video(self) -> Any:
        if self._is_mov:
            options = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
            stream = self._container.add_stream("prores_ks", rate=self._rate, options=options)
        else:
            options = {"crf": "15", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
            options["auto-alt-ref"] = "0"  # the encoder refuses alpha together with hidden frames
            stream = self._container.add_stream("libvpx-vp9", rate=self._rate, options=options)
            stream.metadata["alpha_mode"] = "1"
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuva444p10le" if self._is_mov else "yuva420p"
        self._mark_colors(stream)
        return stream

    def _add_audio(self) -> Any:
        if self._is_mov:
            return self._container.add_stream("pcm_s16le", rate=self._wav_rate, layout="mono")
        return self._container.add_stream("libopus", rate=self._wav_rate, layout="mono")

    def _sound(self, block: np.ndarray) -> Any:
        whole = np.clip(np.round(block * 32767), -32768, 32767).astype(np.int16)
        return av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")


class PictureFolder:
    """Writes `<name>_00000.png`, ... into a folder that is whole or absent; lossless.

    RGBA; a pixel that is fully transparent is stored as black. Opaque layers are stored as RGB, `mask` as
    gray. The tags go into every file as text; the caller puts its record into the file `MARKER`.

    Raises:
      InputError: write_failed.
    """

    def __init__(self, folder: pathlib.Path, name: str, metadata: Mapping[str, str]):
        self._folder, self._name, self._tags = folder, name, metadata
        self._stack = ExitStack()
        self.n_frames = 0

    def __enter__(self) -> Self:
        self._inside = self._stack.enter_context(replacing_folder(self._folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> bool | None:
        if kind is None:
            (self._inside / MARKER).write_text("{}")  # until the record replaces it
        return self._stack.__exit__(kind, error, trace)

    def write(self, frame: np.ndarray) -> None:
        """Appends one frame, [height width 4] uint8 RGBA."""
        if frame.ndim != 3 or frame.shape[2] != 4 or frame.dtype != np.uint8:
            raise ValueError(f"got a frame {frame.shape} {frame.dtype}, a layer takes [h w 4] uint8")
        if self._name == "mask":
            stored = frame[..., 0]
        elif self._name == "background":
            stored = frame[..., 2::-1]
        else:
            stored = np.where(frame[..., 3:] > 0, frame[..., [2, 1, 0, 3]], np.uint8(0))
        _, data = cv2.imencode(".png", np.ascontiguousarray(stored), [cv2.IMWRITE_PNG_COMPRESSION, 4])
        name = f"{self._name}_{self.n_frames:05d}.png"
        (self._inside / name).write_bytes(_with_text(data.tobytes(), self._tags))
        self.n_frames += 1


def _with_text(png: bytes, tags: Mapping[str, str]) -> bytes:
    """A PNG with an `iTXt` chunk per tag after its header (PNG specification, 11.3.4.5)."""
    header = 8 + 4 + 4 + 13 + 4  # signature, and IHDR with length, name and checksum
    chunks = b""
    for key, value in tags.items():
        body = b"iTXt" + key.encode("latin-1")[:79] + b"\0\0\0\0\0" + value.encode()
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:header] + chunks + png[header:]
