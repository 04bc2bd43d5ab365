"""Reading sound from any media file: mono float32, one resampler, aligned to the picture."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import soxr

from talkjax.errors import InputError
from talkjax.media.container import (
    DECODE_FAULTS,
    Path,
    audio_stream,
    faults_as_input_errors,
    open_media,
    readable_name,
    require_video,
    seconds,
    video_stream,
)

_log = logging.getLogger(__name__)

MIN_SECONDS = 0.2
RATES = (1_000, 768_000)  # Hz accepted; outside, the header is damaged
_GAP = 0.05  # seconds by which timestamps may run ahead of the samples before silence is put in
_BLOCK = 1024  # samples by which the last block of a codec may pass the announced end
_MAX_PLANES = 8  # PyAV runs off the end of a frame's list of planes beyond
_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_BAD_PACKETS = 0.05  # share of undecodable packets taken as loss (filled with silence), not as damage


def read_audio(path: Path, sample_rate: int = 16_000, *, max_seconds: float = 600.0) -> np.ndarray:
    """Reads the first audio stream of a sound or video file.

    Channels are averaged. Sample 0 is the time of the first picture if there is one, so sound that starts
    later is padded with zeros and sound that starts earlier is cut; lost packets become silence.

    Args:
      path: any file of the accepted formats, with integer or float samples.
      sample_rate: Hz wanted.
      max_seconds: longest sound accepted; `math.inf` for any.

    Returns:
      [round(n * sample_rate / rate)] float32 in [-1, 1]; louder files are scaled down as a whole.

    Raises:
      InputError: codes of `open_media`, no_audio, empty_audio (under 0.2 s), too_long, not_finite,
        decode_error.
    """
    name = readable_name(path)
    origin = _picture_start(path)
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise InputError(
                f"{name} has no sound",
                fix="give a file with speech, or pass the sound as a wav file",
                code="no_audio",
            )
        wav, rate = _decode(container, stream, origin, max_seconds, path)
    if len(wav) < MIN_SECONDS * rate:
        raise InputError(
            f"{name} holds {len(wav) / rate:.3f} s of sound",
            expected=f"at least {MIN_SECONDS} s",
            code="empty_audio",
        )
    if not np.isfinite(wav).all():
        raise InputError(
            f"{name} has samples that are not finite numbers",
            fix="export the sound again, as 16-bit wav",
            code="not_finite",
        )
    if rate < 16_000:
        _log.warning("%s: sampled at %d Hz, nothing above %d Hz to hear", name, rate, rate // 2)
    wav = _limit(wav)  # before resampling too: float32 overflows on absurd levels
    if rate == sample_rate:
        return wav
    count = round(len(wav) * sample_rate / rate)
    out = soxr.resample(wav, rate, sample_rate)[:count]
    return _limit(np.pad(out, (0, count - len(out))).astype(np.float32, copy=False))


def _picture_start(path: Path) -> Fraction | None:
    """Time of the first picture on the file's own clock; None for a file without (usable) picture."""
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return None
        try:  # a damaged or oversized picture must not cost the sound
            frame = next(container.decode(require_video(container, path)), None)
            if frame is not None and frame.pts is not None:
                return seconds(frame.pts, frame.time_base)
        except (*DECODE_FAULTS, InputError):
            pass
        return seconds(stream.start_time, stream.time_base)


def _decode(
    container: Any, stream: Any, origin: Fraction | None, max_seconds: float, path: Path
) -> tuple[np.ndarray, int]:
    """All samples [n] float32 of a stream from time `origin` on, at their own rate, and that rate in Hz."""
    blocks: list[np.ndarray] = []
    rate = start = position = 0  # samples after `origin`: of the first sample, and of the next one
    for frame in _audio_frames(container, stream, path):
        stamp = seconds(frame.pts, frame.time_base)
        if not blocks:
            rate = _checked_rate(frame.sample_rate, path)
            origin = stamp if origin is None else origin
        elif frame.sample_rate != rate:
            raise _damaged(path, "its sample rate changes on the way")
        at = position if stamp is None or origin is None else round((stamp - origin) * rate)
        if not blocks:
            start = position = at
        gap = at - position if at - position > _GAP * rate else 0
        if position + gap - min(start, 0) > max_seconds * rate:
            raise InputError(
                f"{readable_name(path)} holds more than {max_seconds:g} s of sound",
                fix="cut it, or raise --max_seconds",
                code="too_long",
            )
        if frame.format.is_planar and frame.layout.nb_channels > _MAX_PLANES:
            raise _damaged(path, f"it has {frame.layout.nb_channels} channels")
        blocks += [np.zeros(gap, np.float32), _mono(frame)]
        position += gap + len(blocks[-1])
    wav = np.concatenate([np.zeros(max(start, 0), np.float32), *blocks])[max(-start, 0) :]
    end = seconds(stream.duration and (stream.start_time or 0) + stream.duration, stream.time_base)
    if end is not None and origin is not None and 0 < position - round((end - origin) * rate) < _BLOCK:
        wav = wav[: round((end - origin) * rate)]  # the last block's filling, e.g. of AAC
    return wav, max(rate, 1)


def _audio_frames(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decoded frames, leaving out a few damaged packets (players skip them too).

    Raises:
      InputError(decode_error): the file breaks off, or too many packets are damaged.
    """
    good = bad = 0
    with faults_as_input_errors(path, "reading the sound"):
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
                good += bool(frames)
            except DECODE_FAULTS:
                frames, bad = [], bad + bool(packet.size)
            yield from frames
    if bad > 1 + _BAD_PACKETS * good:
        raise _damaged(path, f"{bad} of {good + bad} sound packets are damaged")


def _mono(frame: Any) -> np.ndarray:
    """[n] float32: the mean of a frame's channels; integers scaled so that full scale is 1."""
    channels, dtype = max(1, frame.layout.nb_channels), np.dtype(_DTYPES[frame.format.packed.name])
    if frame.format.is_planar:  # not `to_ndarray`: from 8 channels on it takes planes that are not there
        data = np.stack([np.frombuffer(p, dtype, frame.samples) for p in frame.planes[:channels]])
    else:
        data = np.frombuffer(frame.planes[0], dtype, frame.samples * channels).reshape(-1, channels).T
    if data.dtype == np.uint8:
        data = data.astype(np.float32) / 128 - 1
    elif data.dtype.kind == "i":
        data = data.astype(np.float32) / -float(np.iinfo(data.dtype).min)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is rejected as not finite
        return data.mean(axis=0, dtype=np.float64).astype(np.float32)


def _limit(wav: np.ndarray) -> np.ndarray:
    """Scaled down to a peak of 1 if louder."""
    peak = float(np.abs(wav).max(initial=0.0))
    if peak > 1.5:  # decoders and resamplers overshoot a little by themselves
        _log.warning("sound peaks at %.3g of full scale; scaled down", peak)
    return wav / np.float32(peak) if peak > 1 else wav


def _checked_rate(rate: int, path: Path) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        raise _damaged(path, f"its sample rate is {rate} Hz")
    return int(rate)


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{readable_name(path)} cannot be used: {why}",
        fix="export the sound again, as 16-bit wav at 16 or 48 kHz",
        code="decode_error",
    )
