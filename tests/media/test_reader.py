"""The reader: true times, rotation, limits, and clear errors for files that are not what they seem."""

from __future__ import annotations

import hashlib
import pathlib
import tracemalloc
from fractions import Fraction

import cv2
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.media import container
from talkjax.media.reader import file_sha256, probe, read_audio, read_frames
from tests.media import clips


def code_of(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        result = call(*args, **kwargs)
        if not isinstance(result, np.ndarray) and hasattr(result, "__next__"):
            list(result)
    assert "\n" not in str(caught.value)
    return caught.value.code


def nearest(times: list[Fraction], end: Fraction, fps: int = 25) -> list[int]:
    """The obvious version: for each output time before the end, the frame with the nearest timestamp."""
    stamps = np.array([float(t - times[0]) for t in times])
    last = float(end - times[0])
    wanted = np.arange(0, 10_000) / fps
    return [int(np.abs(stamps - t).argmin()) for t in wanted[wanted + 0.005 < last]]


def vfr_times() -> list[Fraction]:
    steps = np.random.default_rng(3).choice([33, 34, 47, 90, 120], size=40)
    return [Fraction(int(t), 1000) for t in np.concatenate([[0], np.cumsum(steps)])]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("times", "last_step", "vfr"),
    [
        (clips.steady(50), Fraction(1, 25), False),
        (clips.steady(48, 60), Fraction(1, 60), False),
        (clips.steady(45, Fraction(30_000, 1001)), Fraction(1001, 30_000), False),
        (vfr_times(), None, True),
    ],
    ids=["25", "60", "29.97", "variable"],
)
def test_output_frames_are_the_nearest_in_time(tmp_path, suffix, times, last_step, vfr):
    path = clips.write_clip(tmp_path / f"clip{suffix}", times, fps=1 / last_step if last_step else 25)
    got = [clips.index_of(f) for f in read_frames(path)]
    info = probe(path)
    assert info.n_frames == len(times)
    assert info.is_vfr == vfr
    if last_step is not None:
        assert info.fps == pytest.approx(float(1 / last_step), rel=2e-3)
        assert got == nearest(times, times[-1] + last_step)
    else:  # how long the last frame stays is the muxer's guess
        want = nearest(times, times[-1] + Fraction(1, 5))
        assert got == want[: len(got)]
        assert abs(len(got) - 25 * info.duration) <= 1
        assert len(got) / 25 >= float(times[-1])


def test_frames_of_a_25_fps_clip_are_its_own(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(20))
    frames = list(read_frames(path))
    capture = cv2.VideoCapture(str(path))
    for frame in frames:
        want = capture.read()[1][..., ::-1]
        assert np.abs(frame.astype(int) - want).max() <= 3
    assert not capture.read()[0]


def test_other_output_rate(tmp_path):
    times = clips.steady(40)
    path = clips.write_clip(tmp_path / "a.mp4", times)
    got = [clips.index_of(f) for f in read_frames(path, fps=8.0)]
    assert got == nearest(times, Fraction(40, 25), fps=8)


def test_yielded_frames_belong_to_the_caller(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(5, 5))  # each frame shows five times
    seen = []
    for frame in read_frames(path):
        seen.append(clips.index_of(frame))
        frame[:] = 0
    assert seen[:8] == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_phone_rotation_is_applied(tmp_path, turn):
    path = clips.rotate_mp4(clips.write_clip(tmp_path / "a.mp4", clips.steady(3)), turn)
    frame = next(read_frames(path))
    info = probe(path)
    assert info.rotation == turn
    assert frame.shape[:2] == (info.height, info.width) == ((64, 48) if turn % 180 else (48, 64))
    a, b, c, d = clips.MATRICES[turn]
    x, y = -1, -1  # the coded red corner is top left: where does the matrix send it?
    right, down = a * x + c * y > 0, b * x + d * y > 0
    h, w = frame.shape[:2]
    corner = frame[h - 6 if down else 5, w - 6 if right else 5]
    assert corner[0] > 200 and corner[1] < 60
    capture = cv2.VideoCapture(str(path))  # an independent reader that knows rotation
    assert np.abs(frame.astype(int) - capture.read()[1][..., ::-1]).max() <= 3


def test_probe_reports_sound(tmp_path):
    wav = np.stack([clips.click(0.1, 1.0, 8000), clips.click(0.3, 1.0, 8000)])
    info = probe(clips.write_clip(tmp_path / "a.mp4", clips.steady(25), wav=wav, wav_rate=8000))
    assert (info.has_audio, info.audio_rate, info.audio_channels) == (True, 8000, 2)
    assert info.audio_duration == pytest.approx(1.0, abs=0.15)
    assert not info.truncated
    mute = probe(clips.write_clip(tmp_path / "b.mp4", clips.steady(5)))
    assert (mute.has_audio, mute.audio_rate, mute.audio_duration) == (False, 0, 0.0)


def test_real_clip(target_clip):
    info = probe(target_clip)
    assert (info.width, info.height, info.n_frames, info.fps) == (1280, 720, 607, 25.0)
    assert info.duration == pytest.approx(24.28)


def test_files_that_are_no_media(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "page.mp4").write_text("<html>Not found</html>" * 50)
    good = clips.write_clip(tmp_path / "good.mp4", clips.steady(30)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(good[: len(good) // 2])  # its index stood at the end
    for name, code in {
        "empty.mp4": "empty_file",
        "page.mp4": "not_media",
        "half.mp4": "not_media",
        "absent.mp4": "missing_file",
        "bad\0name.mp4": "missing_file",
        ".": "directory",
    }.items():
        for call in (probe, read_frames, read_audio):
            assert code_of(call, str(tmp_path) + "/" + name) == code, name
    assert code_of(file_sha256, tmp_path / "empty.mp4") == "empty_file"


@pytest.mark.parametrize("disguise", ["list.mp4", "list.txt", "list.ffconcat"])
def test_playlists_cannot_open_other_files(tmp_path, disguise):
    clips.write_clip(tmp_path / "secret.mp4", clips.steady(5))
    (tmp_path / disguise).write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert code_of(probe, tmp_path / disguise) == "not_media"
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n")
    assert code_of(probe, tmp_path / "list.m3u8") == "not_media"


def test_truncated_file_gives_its_prefix_then_an_error(tmp_path):
    front = {"movflags": "faststart"}
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(50), width=128, height=96, options=front)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - (len(data) - data.index(b"mdat")) // 2])
    seen = []
    with pytest.raises(InputError) as caught:
        for frame in read_frames(path):
            seen.append(clips.index_of(frame))
    assert caught.value.code in ("truncated", "decode_error")
    assert 5 < len(seen) < 45
    assert seen[:5] == [0, 1, 2, 3, 4]


def test_sound_file_has_no_picture(tmp_path):
    path = clips.write_wav(tmp_path / "a.wav", np.zeros(8000, np.int16), 16_000)
    assert code_of(probe, path) == "no_video"
    assert code_of(read_frames, path) == "no_video"


def test_limits_hold_before_decoding(tmp_path, monkeypatch):
    path = clips.write_clip(tmp_path / "a.mp4", clips.steady(30), wav=clips.click(0.5, 1.2))
    assert code_of(read_frames, path, max_seconds=1.0) == "too_long"
    assert code_of(read_audio, path, max_seconds=1.0) == "too_long"
    monkeypatch.setattr(container, "MAX_SIDE", 48)
    assert code_of(probe, path) == "too_large"
    assert code_of(read_frames, path) == "too_large"
    assert clips.click_time(read_audio(path)) == pytest.approx(0.5, abs=2e-3)  # its sound is still good
    monkeypatch.undo()
    fast = clips.write_clip(tmp_path / "b.mp4", clips.steady(50, 500))
    assert code_of(probe, fast) == "too_large"


def test_names_that_are_not_utf8(tmp_path):
    good = clips.write_clip(tmp_path / "a.mp4", clips.steady(3))
    odd = bytes(tmp_path) + b"/caf\xe9.mp4"
    pathlib.Path(good).rename(pathlib.Path(str(odd, "utf-8", "surrogateescape")))
    assert len(list(read_frames(odd))) == 3
    with pytest.raises(InputError, match=r"caf\\udce9"):
        read_audio(odd)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_memory_does_not_grow_with_length(tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4", [*clips.steady(50), Fraction(8)], width=256, height=256)
    tracemalloc.start()
    count = sum(1 for _ in read_frames(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 200
    assert peak < 8 * 256 * 256 * 3
