"""Clips and voices as people bring them: each is used, or refused in one line with exit code 2."""

from __future__ import annotations

import os
import pathlib
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest

from talkjax.media.reader import read_audio, read_frames
from talkjax.media.writer import VideoWriter
from tests.flow.conftest import TRAIN_FRAMES, World
from tests.media import clips

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RATE = 16_000


@pytest.fixture(scope="module")
def frames(clip: pathlib.Path) -> list[np.ndarray]:
    return list(read_frames(clip))


def _write(
    path: pathlib.Path, frames: list[np.ndarray], wav: np.ndarray | None, rate: int = RATE, fps: float = 25.0
) -> pathlib.Path:
    height, width = frames[0].shape[:2]
    sound = None if wav is None else (wav, rate)
    with VideoWriter(path, width, height, fps=fps, audio=sound, overwrite=True) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _landmarks(world: World, name: str) -> dict[str, np.ndarray]:
    with np.load(world.identities / name / "clip" / "landmarks.npz") as data:
        return dict(data)


def _nothing_left(world: World, name: str) -> None:
    assert not (world.identities / name).exists()


# ------------------------------------------------------------------------------ refused clips


def test_clips_that_cannot_be_used(world: World, clip, frames, tmp_path):
    """Refused by their container, before any face is sought."""
    whole = clip.read_bytes()
    files = {
        "empty.mp4": b"",
        "text.mp4": b"this is no clip " * 100,
        "cut.mp4": whole[: len(whole) // 2],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert name in world.refused("prepare", tmp_path / name, "--identity=bad")
    sound = clips.write_wav(tmp_path / "sound.wav", np.zeros(RATE, np.int16), RATE)
    world.refused("prepare", sound, "--identity=bad")
    second = _write(tmp_path / "second.mp4", frames[:25], read_audio(clip, RATE)[:RATE])
    assert "1.0 s" in world.refused("prepare", second, "--identity=bad")
    said = world.refused("prepare", clip, "--identity=bad", "--train_frames=101")
    assert "--train_frames=101" in said and "--train_frames=80" in said
    _nothing_left(world, "bad")


def test_a_clip_without_a_face(world: World, frames, tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(70)]
    path = _write(tmp_path / "noise.mp4", noise, None)
    assert "no face" in world.refused("prepare", path, "--identity=noise")
    _nothing_left(world, "noise")


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ""])
def test_names_that_are_no_names(world: World, clip, name):
    world.refused("prepare", clip, f"--identity={name}")
    assert not (world.folder / "out" / "identity.json").exists()


# ------------------------------------------------------------------- clips with difficulties


@pytest.mark.long
def test_a_phones_clip_with_two_people_and_no_voice(prepared: World, frames, tmp_path):
    """60 frames per second at uneven times, held upright, 8 kHz stereo, a smaller person beside: prepared as
    the plain clip is. Its sound is silence, from which no speech can be learned."""
    used = frames[: TRAIN_FRAMES + 4]
    small = [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in used]
    both = []
    for frame, other in zip(used, small, strict=True):
        wide = np.full((192, 288, 3), 90, np.uint8)
        wide[:, :192], wide[96:, 192:] = frame, other
        both.append(wide)
    path = _phone_clip(tmp_path / "phone.mp4", both)
    n = TRAIN_FRAMES
    prepared.run("prepare", path, "--identity=phone", f"--train_frames={n}")
    tracked, plain = _landmarks(prepared, "phone"), _landmarks(prepared, "me")
    assert tracked["valid"].all() and np.median(tracked["n_faces"]) == 2
    error = np.abs(tracked["landmarks"][:n, :468, :2] - plain["landmarks"][:n, :468, :2])
    assert np.median(error) < 1.0  # the larger face, upright, at the right times
    said = prepared.refused("finetune", "--identity=phone")
    assert "silent" in said
    shutil.rmtree(prepared.identities / "phone")


def _phone_clip(path: pathlib.Path, frames: list[np.ndarray]) -> pathlib.Path:
    """Stored lying on its side with a turned display matrix; every frame two or three times, 1/60 s apart or
    a little less; stereo silence at 8 kHz."""
    import av

    base = Fraction(1, 90_000)
    lying = [np.ascontiguousarray(np.rot90(frame, 1)) for frame in frames]
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=60, options={"crf": "10", "preset": "ultrafast"})
        video.height, video.width = lying[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = "yuv420p", base
        sound = out.add_stream("aac", rate=8000, layout="stereo")
        last = -1
        for k in range(len(lying) * 60 // 25):
            picture = av.VideoFrame.from_ndarray(lying[k * 25 // 60], format="rgb24")
            picture.pts = max(int((k + (rng.uniform(0, 0.3) if k else 0)) * 1500), last + 1)
            picture.time_base, last = base, picture.pts
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        for at in range(0, int(len(lying) / 25 * 8000), 1024):
            block = av.AudioFrame.from_ndarray(
                np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
            )
            block.sample_rate, block.time_base, block.pts = 8000, Fraction(1, 8000), at
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    return clips.rotate_mp4(path, 270)


@pytest.mark.long
def test_a_face_that_leaves_for_a_second_and_a_clip_without_sound(prepared: World, frames, tmp_path):
    n = 135
    played = [frames[k if k < 100 else 198 - k] for k in range(n)]
    away = slice(80, 105)
    played[away] = [np.full_like(frames[0], 100)] * 25
    path = _write(tmp_path / "leaves.mp4", played, None)
    prepared.run("prepare", path, "--identity=leaves", f"--train_frames={n}")
    valid = _landmarks(prepared, "leaves")["valid"]
    assert not valid[81:104].any() and valid[:78].all() and valid[108:].all()
    with np.load(prepared.identities / "leaves" / "texture" / "track.npz") as track:
        assert all(np.isfinite(track[name]).all() for name in ("exp", "euler", "translation", "sh"))
        assert np.abs(np.diff(track["euler"][valid], axis=0)).max() < 0.3
    weights = np.load(prepared.identities / "leaves" / "texture" / "weights.npy")
    assert weights[~valid].max() == 0 and weights[valid].max() > 100
    assert "no sound" in prepared.refused("finetune", "--identity=leaves")
    assert "held-out" in prepared.refused("evaluate", "--identity=leaves")  # every frame trains
    shutil.rmtree(prepared.identities / "leaves")


# -------------------------------------------------------------------------- voices and outputs


def test_generate_before_finetune(prepared: World, voice, tmp_path):
    root = prepared.identities / "early"
    shutil.copytree(
        prepared.identities / "me", root, ignore=shutil.ignore_patterns("mapping", "motion", "refiner*")
    )
    out = tmp_path / "early.mp4"
    said = prepared.refused("generate", "--identity=early", f"--audio={voice}", f"--out={out}")
    assert "talkjax finetune --identity=early" in said and not list(tmp_path.iterdir())
    shutil.rmtree(root)


def test_voices_that_cannot_be_used(finetuned: World, frames, tmp_path):
    silent_film = _write(tmp_path / "film.mp4", frames[:25], None)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "words.wav").write_bytes(b"RIFF but nothing more")
    for name in (silent_film.name, "empty.wav", "words.wav"):
        out = tmp_path / "out.mp4"
        said = finetuned.refused("generate", "--identity=me", f"--audio={tmp_path / name}", f"--out={out}")
        assert name in said and not list(tmp_path.glob("out*"))


def test_an_existing_video_is_not_replaced_unasked(finetuned: World, voice, tmp_path):
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(b"precious")
    said = finetuned.refused("generate", "--identity=me", f"--audio={voice}", f"--out={mine}")
    assert "--overwrite" in said and mine.read_bytes() == b"precious"


def test_a_folder_that_cannot_be_written(finetuned: World, voice, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write into read-only folders")
    finetuned.refused("generate", "--identity=me", f"--audio={voice}", f"--out={locked / 'a.mp4'}")
