"""Any bytes end as a value or as an InputError: seeded mutations of small valid files."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.media.image import read_image, write_image
from talkjax.media.reader import probe, read_audio, read_frames
from tests.media import clips


def seeds(folder) -> list:
    wav = clips.click(0.1, 0.4)
    made = [
        clips.write_clip(folder / "a.mp4", clips.steady(10), wav=wav),
        clips.rotate_mp4(clips.write_clip(folder / "b.mp4", clips.steady(6, 60)), 90),
        clips.write_clip(folder / "c.mkv", clips.steady(10), wav=np.stack([wav, wav])),
        clips.write_clip(folder / "d.avi", clips.steady(8), wav=wav),
        clips.write_clip(folder / "e.mp4", clips.steady(8), options={"movflags": "faststart"}),
        clips.write_wav(folder / "f.wav", (wav * 30_000).astype("i2"), 16_000),
    ]
    write_image(folder / "g.png", clips.picture(3, 40, 30))
    write_image(folder / "h.jpg", clips.picture(3, 40, 30))
    return [*made, folder / "g.png", folder / "h.jpg"]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One of: flipped bytes, a damaged head, a cut, a block of noise, a repeated block."""
    out = np.frombuffer(data, np.uint8).copy()
    kind, n = rng.integers(5), len(out)
    at = int(rng.integers(n))
    if kind == 0:
        spots = rng.integers(0, n, rng.integers(1, 20))
        out[spots] = rng.integers(0, 256, len(spots))
    elif kind == 1:
        spots = rng.integers(0, min(n, 300), rng.integers(1, 6))
        out[spots] = rng.choice([0, 1, 127, 128, 255], len(spots))
    elif kind == 2:
        out = out[:at]
    elif kind == 3:
        out[at : at + 64] = rng.integers(0, 256, len(out[at : at + 64]))
    else:
        out = np.concatenate([out[:at], out[max(0, at - 200) :]])
    return out.tobytes()


@pytest.mark.slow
def test_any_bytes_give_a_value_or_an_input_error(tmp_path):
    rng = np.random.default_rng(20_240_601)
    originals = [(p.suffix, p.read_bytes()) for p in seeds(tmp_path)]
    refused = 0
    target = tmp_path / "mutant"
    for trial in range(320):
        suffix, data = originals[trial % len(originals)]
        target = tmp_path / f"mutant{suffix}"
        target.write_bytes(mutate(data, rng))
        calls = [read_image] if suffix in (".png", ".jpg") else [probe, read_audio, read_frames]
        for call in calls:
            begun = time.monotonic()
            try:
                value = call(target)
                if call is read_frames:
                    for frame in value:
                        assert frame.dtype == np.uint8 and frame.shape[2] == 3
                elif call is read_audio:
                    assert np.isfinite(value).all() and np.abs(value).max() <= 1
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
            assert time.monotonic() - begun < 20, f"trial {trial} {suffix} {call.__name__}"
    assert 50 < refused < 900  # both outcomes do occur


def test_random_bytes(tmp_path):
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 100, 5000):
        for suffix in ("mp4", "mkv", "wav", "png"):
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(rng.bytes(size))
            for call in (probe, read_audio, read_image):
                with contextlib.suppress(InputError):
                    call(path)
                    raise AssertionError(f"{call.__name__} took noise for a file")
