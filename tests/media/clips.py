"""Tiny media files made on the spot, with known content at known times."""

from __future__ import annotations

import pathlib
import struct
from fractions import Fraction

import av
import numpy as np

RATE = 16_000


def level(index: int) -> int:
    """Gray level that tells which coded frame a picture is (up to 50 of them)."""
    return 20 + 4 * index


def index_of(frame: np.ndarray) -> int:
    """The coded frame's number, from the middle of the picture."""
    h, w = frame.shape[:2]
    return round((float(frame[h // 4 : -h // 4, w // 4 : -w // 4].mean()) - 20) / 4)


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Gray by index, with a red top left corner."""
    frame = np.full((height, width, 3), level(index), np.uint8)
    frame[: height // 4, : width // 4] = (255, 0, 0)
    return frame


def write_clip(
    path: pathlib.Path,
    times: list[Fraction],
    *,
    width: int = 64,
    height: int = 48,
    fps: Fraction | int = 25,
    wav: np.ndarray | None = None,
    wav_rate: int = RATE,
    wav_start: float = 0.0,
    options: dict[str, str] | None = None,
) -> pathlib.Path:
    """A video whose frame i is `picture(i)` at `times[i]` seconds; wav [n] or [channels n]."""
    base = Fraction(1, 90_000) if path.suffix != ".avi" else 1 / Fraction(fps)  # AVI counts in frames
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "4", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = base
        sound = None
        if wav is not None:
            wav = np.atleast_2d(wav).astype(np.float32)
            sound = out.add_stream("aac", rate=wav_rate, layout="mono" if len(wav) == 1 else "stereo")
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None and wav is not None:
            for at in range(0, wav.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wav[:, at : at + 1024]),
                    format="fltp",
                    layout="mono" if len(wav) == 1 else "stereo",
                )
                block.sample_rate, block.time_base = wav_rate, Fraction(1, wav_rate)
                block.pts = at + round(wav_start * wav_rate)
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))
    return path


def steady(count: int, fps: Fraction | int = 25) -> list[Fraction]:
    """Timestamps of a constant frame rate."""
    return [Fraction(i) / fps for i in range(count)]


def click(at: float, seconds: float, rate: int = RATE) -> np.ndarray:
    """Silence with a 5 ms burst of 1 kHz starting at a time."""
    wav = np.zeros(round(seconds * rate), np.float32)
    start = round(at * rate)
    wav[start : start + rate // 200] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(rate // 200) / rate)
    return wav


def click_time(wav: np.ndarray, rate: int = RATE) -> float:
    """Start of the first burst, seconds."""
    return float(np.argmax(np.abs(wav) > 0.2)) / rate


def write_wav(path: pathlib.Path, data: np.ndarray, rate: int) -> pathlib.Path:
    """A wav file of [n channels] samples written byte by byte: int16, int32, uint8, float32 or float64."""
    data = data[:, None] if data.ndim == 1 else data
    width, channels = data.dtype.itemsize, data.shape[1]
    body = data.astype(data.dtype.newbyteorder("<")).tobytes()
    code = 3 if data.dtype.kind == "f" else 1
    form = struct.pack("<HHIIHH", code, channels, rate, rate * channels * width, channels * width, 8 * width)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


MATRICES = {  # display matrix (a, b, c, d): a coded offset (x, y) is shown at (a x + c y, b x + d y)
    0: (1, 0, 0, 1),
    90: (0, -1, 1, 0),  # turned 90 degrees counter-clockwise
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),  # a phone held upright
}


def rotate_mp4(path: pathlib.Path, turn: int) -> pathlib.Path:
    """Patches the video track header's display matrix, as a phone writes it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = MATRICES[turn]
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path
