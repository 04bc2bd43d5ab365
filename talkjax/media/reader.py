"""The one reader of video: true timestamps, phone rotation applied, bounded memory.

Time zero of a clip is the timestamp of its first picture; `media.sound.read_audio` (re-exported here) aligns
the sound to it. Corrupt data raises `InputError`, after the frames before the damage have been yielded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from talkjax.errors import InputError
from talkjax.media.container import (
    Path,
    audio_stream,
    check_file,
    check_size,
    faults_as_input_errors,
    open_media,
    readable_name,
    require_video,
    seconds,
)
from talkjax.media.sound import read_audio

__all__ = ["ClipInfo", "file_sha256", "probe", "read_audio", "read_frames"]

_SHORT_SECONDS, _SHORT_SHARE = Fraction(1, 2), Fraction(1, 50)  # a stream may end this much early


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """What a clip holds, from its header, its packets' timestamps and its first frame.

    Attributes:
      width, height: pixels as shown, after rotation.
      fps: mean frames per second, from timestamps.
      n_frames: coded frames in the file (not resampled; `read_frames` gives about `duration * 25`).
      duration: seconds of picture.
      is_vfr: frame intervals vary.
      rotation: degrees, 0, 90, 180 or 270, by which coded frames are turned counter-clockwise to be shown.
      has_audio: an audio stream with a decoder exists.
      audio_rate: Hz, 0 without audio.
      audio_channels: 0 without audio.
      audio_duration: seconds of sound, 0 without audio.
      truncated: a stream ends clearly before its header says.
    """

    width: int
    height: int
    fps: float
    n_frames: int
    duration: float
    is_vfr: bool
    rotation: int
    has_audio: bool
    audio_rate: int
    audio_channels: int
    audio_duration: float
    truncated: bool


def probe(path: Path) -> ClipInfo:
    """Describes a video without decoding more than its first frame.

    Raises:
      InputError: codes of `open_media`, no_video, too_large, decode_error.
    """
    with open_media(path) as container:
        video, audio = require_video(container, path), audio_stream(container)
        with faults_as_input_errors(path, "reading"):
            first = next(container.decode(video), None)
        if first is None:
            raise _no_frames(path)
        check_size(first.width, first.height, path)
        turn = _rotation(first)
    with open_media(path) as container:
        video, audio = require_video(container, path), audio_stream(container)
        with faults_as_input_errors(path, "reading"):
            spans = _packet_spans(container, [s for s in (video, audio) if s is not None])
            starts = sorted(a for a, _ in spans[video.index])
            steps = np.diff(np.array(starts, np.float64))
            duration = _extent(spans[video.index], 1 / Fraction(video.average_rate or 25))
            sound = _extent(spans[audio.index]) if audio is not None else Fraction(0)
            side = (first.height, first.width) if turn % 180 else (first.width, first.height)
            return ClipInfo(
                *side,
                fps=float((len(starts) - 1) / (starts[-1] - starts[0]))
                if len(steps) and steps.sum()
                else 0.0,
                n_frames=len(starts),
                duration=float(duration),
                # muxers round timestamps to a millisecond: allow two of them
                is_vfr=bool(len(steps)) and bool(np.ptp(steps) > max(0.1 * np.median(steps), 0.0021)),
                rotation=turn,
                has_audio=audio is not None,
                audio_rate=int(audio.codec_context.sample_rate or 0) if audio is not None else 0,
                audio_channels=int(audio.codec_context.channels or 0) if audio is not None else 0,
                audio_duration=float(sound),
                truncated=_falls_short(video, duration) or (audio is not None and _falls_short(audio, sound)),
            )


def read_frames(path: Path, *, fps: float = 25.0, max_seconds: float = 600.0) -> Iterator[np.ndarray]:
    """Yields the clip's pictures at a fixed rate, each the one nearest in time.

    Output k is the coded frame whose timestamp is nearest to `k / fps` seconds after the first one, so
    variable and foreign frame rates keep their true timing. Frames come out while the file is being read.

    Args:
      path: a video file.
      fps: output frames per second.
      max_seconds: longest clip accepted; `math.inf` for any.

    Yields:
      [h w 3] uint8 RGB, rotation applied; every array is the caller's own.

    Raises:
      InputError: codes of `open_media`, no_video, too_large, too_long, decode_error, truncated.
    """
    step, k = 1 / Fraction(fps).limit_denominator(100_000), 0
    shown: tuple[Fraction, Any] | None = None  # the newest frame and its time
    image: np.ndarray | None = None  # its pixels, once someone wanted them
    with open_media(path) as container:
        video = require_video(container, path)
        _check_length(seconds(video.duration, video.time_base), max_seconds, path)
        end, size = Fraction(0), (0, 0)
        for time, frame in _timed_frames(container, video, path):
            _check_length(time, max_seconds, path)
            size = size if shown else (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise InputError(
                    f"{readable_name(path)} changes its picture size at {float(time):.2f} s",
                    fix="convert it to one size",
                    code="decode_error",
                )
            while shown and k * step <= (shown[0] + time) / 2:
                image = _pixels(shown[1], path) if image is None else image
                yield image.copy()
                k += 1
            duration = seconds(frame.duration or None, frame.time_base)
            end = time + (duration or 1 / Fraction(video.average_rate or 25))
            shown, image = (time, frame), None
        if shown is None:
            raise _no_frames(path)
        _check_length(end - 1, max_seconds, path)  # the last frame may be announced absurdly long
        while k * step + step / 8 < end:  # a sliver of a frame at the end shows nothing
            image = _pixels(shown[1], path) if image is None else image
            yield image.copy()
            k += 1
        if _falls_short(video, end):
            raise InputError(
                f"{readable_name(path)} ends after {float(end):.2f} s of "
                f"{float(video.duration * video.time_base):.2f} s",
                fix="copy or download it again, or cut it with a video editor",
                code="truncated",
            )


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes. Raises InputError as `check_file` does."""
    with open(check_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _timed_frames(container: Any, video: Any, path: Path) -> Iterator[tuple[Fraction, Any]]:
    """Decoded frames with strictly rising times, the first at 0; one without timestamp follows the last."""
    frames = container.decode(video)
    first: Fraction | None = None
    last = Fraction(-1)
    nominal = 1 / Fraction(video.average_rate or 25)
    for count in itertools.count():
        with faults_as_input_errors(path, f"decoding after frame {count}"):
            frame = next(frames, None)
            if frame is None:
                return
            stamp = seconds(frame.pts, frame.time_base)
        check_size(frame.width, frame.height, path)
        stamp = stamp if stamp is not None else (first or Fraction(0)) + max(last, -nominal) + nominal
        first = stamp if first is None else first
        if stamp - first > last:
            last = stamp - first
            yield last, frame


def _rotation(frame: Any) -> int:
    """The display matrix's turn to the nearest quarter, counter-clockwise, in 0, 90, 180, 270."""
    return round((frame.rotation or 0) / 90) * 90 % 360


def _pixels(frame: Any, path: Path) -> np.ndarray:
    """[h w 3] uint8 RGB of a decoded frame, turned upright.

    Untagged video of 720 lines and more is BT.709, smaller BT.601, as players take it.
    """
    with faults_as_input_errors(path, "converting a frame"):
        untagged_hd = int(frame.colorspace) == 2 and min(frame.width, frame.height) >= 720
        rgb = frame.reformat(format="rgb24", src_colorspace="itu709" if untagged_hd else None).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, _rotation(frame) // 90))


def _packet_spans(container: Any, streams: list[Any]) -> dict[int, list[tuple[Fraction, Fraction]]]:
    """Start and duration, seconds, of every packet shown, per stream index; reads but does not decode."""
    spans: dict[int, list[tuple[Fraction, Fraction]]] = {s.index: [] for s in streams}
    for packet in container.demux(streams):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None and not packet.is_discard:
            base = Fraction(packet.time_base)
            spans[packet.stream.index].append((stamp * base, (packet.duration or 0) * base))
    return spans


def _extent(spans: list[tuple[Fraction, Fraction]], nominal: Fraction = Fraction(0)) -> Fraction:
    """Seconds from the first start to the last end; packets without duration last `nominal`."""
    if not spans:
        return Fraction(0)
    return max(a + (d or nominal) for a, d in spans) - min(a for a, _ in spans)


def _falls_short(stream: Any, found: Fraction) -> bool:
    """Whether a stream holds clearly less than its own header promises (0.5 s and 2 %)."""
    promised = seconds(stream.duration, stream.time_base) or Fraction(0)
    return promised - found > max(_SHORT_SECONDS, _SHORT_SHARE * promised)


def _check_length(length: Fraction | None, max_seconds: float, path: Path) -> None:
    if length is not None and length > max_seconds:
        raise InputError(
            f"{readable_name(path)} lasts {float(length):.0f} s",
            expected=f"at most {max_seconds:g} s",
            fix="cut it, or raise the limit",
            code="too_long",
        )


def _no_frames(path: Path) -> InputError:
    return InputError(
        f"{readable_name(path)} holds no decodable picture",
        fix="copy or download it again",
        code="decode_error",
    )
