"""Layers for editors: what other decoders read back, marks, refusals."""

from __future__ import annotations

import pathlib
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from talkjax.errors import InputError
from talkjax.media.layer_writer import MARKER, check_layer_output, open_layer
from talkjax.media.reader import read_audio

WIDTH, HEIGHT, COUNT = 64, 48, 5
TAGS = {"synthetic": "true", "talkjax_identity": "müller"}


def drawn_frames() -> list[np.ndarray]:
    """A soft colored disk that moves; the alpha runs from 0 to 255."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for k in range(COUNT):
        distance = np.hypot(x - 24 - 3 * k, y - 24)
        alpha = np.clip((18 - distance) / 8, 0, 1) * 255
        color = np.stack([120 + 2 * x, 90 + 2 * y, 200 - x - y], -1)
        frames.append(np.dstack([color, alpha]).round().astype(np.uint8))
    return frames


def write(path: pathlib.Path, name: str = "face", **options: Any) -> pathlib.Path:
    wav = np.sin(np.arange(COUNT * 1920) * 0.05).astype(np.float32) * 0.5
    target = check_layer_output(path)
    with open_layer(target, WIDTH, HEIGHT, name=name, audio=(wav, 48_000), metadata=TAGS, **options) as layer:
        for frame in drawn_frames():
            layer.write(frame)
    return target


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("layers")
    return {suffix: write(folder / f"face{suffix}") for suffix in (".mov", ".webm")}


def decoded(path: pathlib.Path) -> list[np.ndarray]:
    """RGBA frames; VP9's alpha needs libvpx, the default decoder drops it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        if stream.codec_context.name.startswith(("vp9", "libvpx")):
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        frames = []
        for packet in container.demux(stream):
            frames += [f.to_ndarray(format="rgba") for f in decoder.decode(packet if packet.size else None)]
        return frames


@pytest.mark.parametrize(("suffix", "alpha_bound", "color_bound"), [(".mov", 1, 4), (".webm", 12, 14)])
def test_alpha_and_color_come_back(videos, suffix, alpha_bound, color_bound) -> None:
    read, made = decoded(videos[suffix]), drawn_frames()
    assert len(read) == COUNT
    for one, other in zip(read, made, strict=True):
        difference = np.abs(one.astype(int) - other.astype(int))
        assert difference[..., 3].max() <= alpha_bound
        assert difference[other[..., 3] > 128][:, :3].max() <= color_bound
        assert np.ptp(one[..., 3].astype(int)) > 240


def test_codecs_sound_and_marks(videos) -> None:
    for suffix, name, kind in ((".mov", "prores", "yuva444p1"), (".webm", "vp9", "yuv")):
        with av.open(str(videos[suffix])) as container:
            stream = container.streams.video[0]
            assert name in stream.codec_context.name and stream.codec_context.pix_fmt.startswith(kind)
            tags = {key.lower(): value for key, value in container.metadata.items()}
        assert tags["synthetic"] == "true" and tags["talkjax_identity"] == "müller"
        assert len(read_audio(videos[suffix], 48_000)) >= 0.95 * COUNT * 1920


def test_folder_of_pictures_is_lossless(tmp_path) -> None:
    folder = write(tmp_path / "new" / "face")
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"face_{k:05d}.png" for k in range(COUNT)] and (folder / MARKER).exists()
    for name, made in zip(names, drawn_frames(), strict=True):
        with Image.open(folder / name) as picture:
            assert picture.mode == "RGBA" and picture.info["talkjax_identity"] == "müller"
            read = np.asarray(picture)
        np.testing.assert_array_equal(read[..., 3], made[..., 3])
        np.testing.assert_array_equal(read[..., :3], np.where(made[..., 3:] > 0, made[..., :3], 0))


@pytest.mark.parametrize(("name", "channels"), [("mask", 1), ("background", 3)])
def test_opaque_layers_of_a_folder(tmp_path, name, channels) -> None:
    folder = write(tmp_path / name, name)
    read = cv2.imread(str(folder / f"{name}_00000.png"), cv2.IMREAD_UNCHANGED)
    first = drawn_frames()[0]
    wanted = first[..., 0] if channels == 1 else first[..., 2::-1]
    np.testing.assert_array_equal(read, wanted)


def test_nothing_is_left_of_a_layer_that_fails(tmp_path) -> None:
    for name in ("face", "face.mov", "face.webm"):
        with pytest.raises(ValueError, match="got a frame"), open_layer(
            check_layer_output(tmp_path / name), WIDTH, HEIGHT, name="face", audio=(np.zeros(9), 48_000),
            metadata={},
        ) as layer:  # fmt: skip
            layer.write(drawn_frames()[0])
            layer.write(drawn_frames()[0][..., :3])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("me.mp4", "mp4 has no alpha"),
        ("me_%05d.png", "one PNG holds one frame"),
        ("me.gif", "unknown format"),
    ],
)
def test_names_that_hold_no_layer(tmp_path, name, reason) -> None:
    with pytest.raises(InputError, match=rf"{reason}.*; fix: use \.mov, \.webm or a folder"):
        check_layer_output(tmp_path / name)


def test_only_own_folders_are_replaced(tmp_path) -> None:
    folder = write(tmp_path / "face")
    with pytest.raises(InputError, match="--overwrite"):
        check_layer_output(folder)
    assert check_layer_output(folder, overwrite=True) == folder
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        check_layer_output(tmp_path / "others", overwrite=True)
