"""Still pictures: lossless png, good jpeg, and clear errors."""

from __future__ import annotations

import os

import numpy as np
import pytest

from talkjax.media.image import read_image, write_image
from tests.media.test_reader import code_of


def rainbow() -> np.ndarray:
    x, y = np.meshgrid(np.arange(60), np.arange(40))
    return np.stack([x * 4, y * 6, 255 - x * 4], -1).astype(np.uint8)


def test_png_is_exact_and_rgb(tmp_path):
    write_image(tmp_path / "a.png", rainbow())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rainbow())
    assert os.listdir(tmp_path) == ["a.png"]
    matplotlib = pytest.importorskip("matplotlib.image")  # an independent reader: channels in order
    np.testing.assert_allclose(matplotlib.imread(tmp_path / "a.png")[..., :3] * 255, rainbow(), atol=0.01)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
def test_jpeg_keeps_full_color_resolution(tmp_path, suffix):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)  # 4:2:0 would smear these into one purple
    write_image(tmp_path / f"a.{suffix}", stripes)
    got = read_image(tmp_path / f"a.{suffix}")
    assert np.abs(got.astype(int) - stripes).mean() < 12
    write_image(tmp_path / f"a.{suffix}", rainbow())  # replaces
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - rainbow()).mean() < 2


def test_errors(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    (tmp_path / "b.png").write_bytes(b"")
    assert code_of(read_image, tmp_path / "a.png") == "not_media"
    assert code_of(read_image, tmp_path / "b.png") == "empty_file"
    assert code_of(read_image, tmp_path / "c.png") == "missing_file"
    assert code_of(write_image, tmp_path / "no" / "a.png", rainbow()) == "no_folder"
    assert code_of(write_image, tmp_path / "a.gif", rainbow()) == "bad_suffix"
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", rainbow() / 255)
