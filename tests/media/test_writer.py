"""The writer: what comes back, what is left behind on failure, and constant memory."""

from __future__ import annotations

import os
import tracemalloc

import av
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.media.reader import probe, read_audio, read_frames
from talkjax.media.writer import VideoWriter
from tests.media import clips
from tests.media.test_reader import code_of


def smooth(index: int, width: int, height: int) -> np.ndarray:
    """A colored gradient that moves: easy for the codec, hard to mistake."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    rgb = np.stack([0.2 + 0.6 * x, 0.8 - 0.5 * y, 0.5 + 0.4 * np.sin(3 * x + index / 10)], -1)
    return np.round(rgb * 255).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 47), (64, 47), (1, 1)])
def test_pictures_come_back(tmp_path, width, height):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, width, height) as writer:
        for i in range(30):
            writer.write(smooth(i, width, height))
    frames = list(read_frames(path))
    assert len(frames) == writer.n_frames == 30
    assert os.listdir(tmp_path) == ["a.mp4"]
    for i, frame in enumerate(frames):
        assert frame.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame[:height, :width].astype(int) - smooth(i, width, height)).mean() < 3


def test_color_is_tagged_and_survives(tmp_path):
    colors = [(200, 60, 40), (30, 200, 60), (20, 40, 220), (240, 240, 240), (10, 10, 10)]
    with VideoWriter(tmp_path / "a.mp4", 80, 64) as writer:
        frame = np.repeat(np.array(colors, np.uint8)[None], 64, 0).repeat(16, 1)
        for _ in range(3):
            writer.write(frame)
    got = next(read_frames(tmp_path / "a.mp4"))[32, 8::16]
    assert np.abs(got.astype(int) - colors).max() <= 4
    with av.open(str(tmp_path / "a.mp4")) as source:
        coded = next(source.decode(video=0))
        assert (coded.colorspace, coded.color_primaries, coded.color_trc, coded.color_range) == (1, 1, 1, 1)
        assert coded.format.name == "yuv420p"


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 20_000])
def test_sound_and_picture_stay_together(tmp_path, rate):
    wav = clips.click(1.2, 2.0, rate)
    with VideoWriter(tmp_path / "a.mp4", 64, 48, audio=(wav, rate)) as writer:
        for i in range(50):
            writer.write(np.full((48, 64, 3), 255 if i == 30 else 0, np.uint8))
    flash = [i for i, f in enumerate(read_frames(tmp_path / "a.mp4")) if f.mean() > 128]
    got = read_audio(tmp_path / "a.mp4")
    assert flash == [30]  # 1.2 s
    assert clips.click_time(got) == pytest.approx(1.2, abs=3e-3)
    info = probe(tmp_path / "a.mp4")
    assert info.duration == 2.0
    assert len(got) / 16_000 == pytest.approx(2.0, abs=0.04)


def test_streams_are_interleaved(tmp_path):
    wav = np.random.default_rng(0).uniform(-0.1, 0.1, 160_000).astype(np.float32)
    with VideoWriter(tmp_path / "a.mp4", 64, 48, audio=(wav, 16_000)) as writer:
        for i in range(250):
            writer.write(smooth(i, 64, 48))
    with av.open(str(tmp_path / "a.mp4")) as source:
        order = [
            (p.pos, p.stream.type, float(p.dts * p.time_base)) for p in source.demux() if p.dts is not None
        ]
    times = {"video": 0.0, "audio": 0.0}
    for _, kind, time in sorted(order):
        times[kind] = time
        assert abs(times["video"] - times["audio"]) < 0.5
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it downloads


def test_tags_come_back(tmp_path):
    tags = {"synthetic": "true", "digital_source_type": "trainedAlgorithmicMedia", "comment": "grüße"}
    with VideoWriter(tmp_path / "a.mp4", 16, 16, metadata=tags) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as source:
        assert tags.items() <= source.metadata.items()


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_a_failure(tmp_path, fault):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"what was there before")
    with pytest.raises(fault), VideoWriter(path, 64, 48, overwrite=True) as writer:
        for i in range(60):
            writer.write(smooth(i, 64, 48))
        assert len(os.listdir(tmp_path)) == 2
        raise fault
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert path.read_bytes() == b"what was there before"


def test_wrong_frames_are_programming_errors(tmp_path):
    with pytest.raises(ValueError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 64, 48):
        pass
    for frame in (np.zeros((64, 48, 3), np.uint8), np.zeros((48, 64, 3), np.float32)):
        with pytest.raises(ValueError, match=r"\(48, 64, 3\)"), VideoWriter(tmp_path / "a.mp4", 64, 48) as w:
            w.write(frame)
    assert os.listdir(tmp_path) == []


def test_bad_targets_are_refused_before_any_work(tmp_path):
    (tmp_path / "here.mp4").write_bytes(b"x")
    (tmp_path / "dir.mp4").mkdir()
    for name, code in {
        "here.mp4": "exists",
        "dir.mp4": "exists",
        "no/such/a.mp4": "no_folder",
        "here.mp4/a.mp4": "no_folder",
        "a.avi": "bad_suffix",
        f"{'x' * 300}.mp4": "unwritable",
        "nul\0.mp4": "unwritable",
    }.items():
        assert code_of(VideoWriter, str(tmp_path / name), 64, 48) == code, name
    with pytest.raises(InputError, match="allow overwriting"):
        VideoWriter(tmp_path / "here.mp4", 64, 48)
    assert (tmp_path / "here.mp4").read_bytes() == b"x"


def test_full_disk(tmp_path):
    resource = pytest.importorskip("resource")  # a file size limit stands in for a full disk
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with (
            pytest.raises(InputError, match="free space") as caught,
            VideoWriter(tmp_path / "a.mp4", 64, 48) as w,
        ):
            for i in range(100):
                w.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "write_failed"
    assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_length(tmp_path):
    frame = smooth(0, 256, 256)
    peaks = []
    for count in (30, 120):
        tracemalloc.start()
        with VideoWriter(tmp_path / "a.mp4", 256, 256, overwrite=True) as writer:
            for _ in range(count):
                writer.write(frame)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + frame.nbytes
