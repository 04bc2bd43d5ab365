"""The golden exported file in a fresh process, and three of its functions lowered again, against each other
and against what `generate` does with numpy and OpenCV."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import talkjax
from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.infer import compose, retrieval
from talkjax.infer.bundle import programs as bundle_programs
from talkjax.infer.bundle import resample
from talkjax.infer.bundle.archive import Archive, write_archive
from talkjax.infer.eye_motion import eye_course
from talkjax.infer.played import ping_pong
from talkjax.media.image import read_image, write_image
from talkjax.media.jpeg import decode_jpeg
from talkjax.track.crop import cut, paste_back
from tests.conftest import ROOT
from tests.infer.bundle_child import N_FRAMES

FOLDER = ROOT / "tests" / "goldens" / "export"
LIGHT = """config errors results xla_flags infer infer.eye_motion infer.marks infer.played media
media.container media.jpeg media.reader media.sound media.writer track track.durable"""
"""What the runtime needs of talkjax, beside itself."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """(arrays, modules) of a process that did nothing but play the golden file."""
    out = tmp_path_factory.mktemp("fresh") / "out.npz"
    words = [sys.executable, "-m", "tests.infer.bundle_child", str(FOLDER / "person.talkjax"), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(out), json.loads(pathlib.Path(f"{out}.json").read_text())


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory):
    """The golden file with programs of a version that this JAX cannot read, opened."""
    archive = Archive(FOLDER / "person.talkjax")
    members = {name: archive.read(name) for name in archive.names()}
    for name in archive.names("programs/"):
        members[name] = b"\x10\0\0\0 of another time" + members[name][20:]
    out = tmp_path_factory.mktemp("old") / "old.talkjax"
    write_archive(out, archive.manifest, members)
    archive.close()
    return talkjax.load(out)


def call(arrays, name: str, part: str) -> dict[str, np.ndarray]:
    start = f"{name}|{part}|"
    return {key.removeprefix(start): arrays[key] for key in arrays.files if key.startswith(start)}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_a_fresh_process_loads_little(fresh):
    """jax itself brings scipy.linalg in with its first compiled program on a CPU, and nothing else does."""
    _, about = fresh
    own = {name.removeprefix("talkjax.") for name in about["modules"] if name.startswith("talkjax.")}
    assert {name for name in own if not name.startswith("infer.bundle")} <= set(LIGHT.split())
    assert about["lowered_again"] == {}
    heavy = {"flax", "optax", "orbax", "cv2", "mediapipe", "jaxtyping", "absl", "tensorflow"}
    assert not heavy & {name.split(".")[0] for name in about["modules"]}
    assert "scipy" not in about["after_load"]


def test_where_chunks_end_changes_no_bit(fresh):
    arrays, _ = fresh
    assert arrays["frames"].shape == (N_FRAMES, 96, 96, 3)
    np.testing.assert_array_equal(arrays["streamed"], arrays["frames"])


def test_the_output_is_alive(fresh):
    """The mouth moves, the head moves with the clip, and a still head leaves the surroundings alone."""
    arrays, _ = fresh
    frames, fixed = (arrays[name].astype(float) for name in ("frames", "fixed"))
    assert frames.mean() > 40 and np.abs(np.diff(frames, axis=0)).max() > 20
    assert np.abs(np.diff(fixed[:, :, :8], axis=0)).max() == 0  # beside the head
    assert np.abs(np.diff(fixed[:, 30:60, 25:70], axis=0)).max() > 10


def test_a_function_lowered_again_gives_the_same_bits(fresh, unreadable):
    """From weights and settings of the file, in another process: what its StableHLO gave. (All of them:
    `tests/faults/test_export.py`.)"""
    arrays, _ = fresh
    state, out = unreadable.programs(
        "choose", *(call(arrays, "choose", part) for part in ("given0", "given1"))
    )
    assert list(unreadable.programs.lowered_again) == ["choose"]
    for part, made in (("out", out), ("state", state)):
        wanted = call(arrays, "choose", part)
        assert sorted(made) == sorted(wanted)
        for key, value in made.items():
            np.testing.assert_array_equal(np.asarray(value), wanted[key], err_msg=key)


def test_choices_are_those_of_the_whole_video(unreadable):
    """Three blocks and the end, against the dynamic programming over all frames at once."""
    talker, rng = unreadable, np.random.default_rng(0)
    block, ahead, n = talker.config.block, talker.config.lookahead, 20
    motion, state = talker._motion, talker._starts["choose"]
    rows = ping_pong(n, 12)
    face = {name: motion[name][rows] for name in ("exp", "euler", "translation", "gaze")}
    face["exp"] = face["exp"] + rng.normal(0, 0.1, face["exp"].shape).astype(np.float32)
    one, look = [], []
    for begin in range(0, n + ahead, block):
        at = np.minimum(np.arange(begin, begin + block), n - 1)
        inputs = {name: values[at] for name, values in face.items()}
        inputs["valid"] = np.arange(begin, begin + block) < n
        state, made = talker.programs("choose", state, inputs)
        one.append(made["one"]), look.append(made["look"])
    arrays = talker.programs.arrays
    verts = arrays["face"]["mean"] + np.einsum("te,evc->tvc", face["exp"], arrays["face"]["exp_basis"])
    features = retrieval.zone_features(verts, face["euler"], face["translation"], face["gaze"])
    begin, made = 0, np.concatenate(look)[:n]
    for zone, wanted in enumerate(features):
        distance = retrieval.distances(wanted, arrays["look"][retrieval.ZONES[zone]])
        path = retrieval.smooth_choice(distance)
        np.testing.assert_array_equal(np.concatenate(one)[ahead : ahead + n, zone], path)
        name, given = retrieval.ZONES[zone], arrays["look"]
        gain = np.asarray(given[f"gain_{name}"], np.float64)
        kernel = np.exp(-((distance[:, given["frames"]] / given["length"][zone]) ** 2) / 2)
        read = kernel @ gain
        np.testing.assert_allclose(made[:, begin : begin + gain.shape[1]], read, atol=5e-3 * read.std())
        begin += gain.shape[1]
    assert begin == made.shape[1] > 0


def test_layers_are_those_of_opencv(fresh):
    arrays, _ = fresh
    given, out = call(arrays, "layers", "given0"), call(arrays, "layers", "out")
    center, side, size = given["center"][0], float(given["side"][0]), given["uv"].shape[1]
    crop = cut(given["frame"][0], center, side, size)
    new, old = (np.zeros((468, 2), np.float32) for _ in range(2))
    new[mesh468.FACE_OVAL], old[mesh468.FACE_OVAL] = given["new"][0], given["old"][0]
    warped = compose.warp_background(crop, new, old)
    assert bool(out["moved"][0]) == (warped is not crop) and psnr(crop, warped) < 50
    assert psnr(out["background"][0], warped) > 45
    np.testing.assert_allclose(out["alpha"][0], compose.face_alpha(given["region"][0]), atol=1e-5)


def test_the_paste_is_that_of_opencv(fresh):
    arrays, _ = fresh
    given, out = call(arrays, "paste", "given0"), call(arrays, "paste", "out")
    background, face, alpha = given["background"][0] / 255.0, given["face"][0], given["alpha"][0]
    picture = compose.composite(face, background, alpha) * 255
    border = compose.crop_alpha(len(alpha))
    wanted = paste_back(given["frame"][0], picture, border, given["center"][0], float(given["side"][0]))
    assert psnr(out["picture"][0], wanted) > 50 and psnr(given["frame"][0], wanted) < 40


def test_golden_pictures_are_still_the_same(fresh):
    """What the file showed when it was made; another JAX may round another way."""
    arrays, _ = fresh
    kept = np.load(FOLDER / "frames.npz")
    assert len(kept.files) == 3
    for name in kept.files:
        assert psnr(arrays["frames"][int(name.removeprefix("frame_"))], kept[name]) > 40


def test_a_program_with_calls_of_its_own_is_not_run():
    module = "stablehlo.custom_call @shape_assertion(%1) stablehlo.custom_call @stablehlo.dynamic_top_k(%2)"
    assert bundle_programs.foreign_calls(module) == set()
    strange = module + ' custom_call @"run this"(%3) "stablehlo.custom_call"() {call_target_name = "xla_cpu"}'
    assert bundle_programs.foreign_calls(strange) == {"run this", "xla_cpu"}


def test_whole_files_of_another_kind_are_refused(tmp_path):
    """Right digests, wrong contents: one line, nothing run."""
    archive = Archive(FOLDER / "person.talkjax")
    members = {name: archive.read(name) for name in archive.names() if not name.startswith("frames/")}
    for change in ({"config": {}}, {"programs": 3}, {"identity": None}, {"consent": []}):
        write_archive(tmp_path / "x.talkjax", {**archive.manifest, **change}, members, overwrite=True)
        with pytest.raises(InputError) as caught:
            talkjax.load(tmp_path / "x.talkjax")
        assert caught.value.code == "not_an_export" and "\n" not in str(caught.value)
    members["arrays/face.safetensors"] = b"{" * 99
    write_archive(tmp_path / "x.talkjax", archive.manifest, members, overwrite=True)
    archive.close()
    with pytest.raises(InputError, match=r"x\.talkjax"):
        talkjax.load(tmp_path / "x.talkjax")


def test_eyes_over_a_still_head(unreadable):
    """Frame by frame what `eye_course` draws for the whole video at once."""
    from talkjax.infer.bundle.play import Play, _eye_style

    motion = unreadable._motion
    play, style = Play(motion, "fixed", 5), _eye_style(motion)
    euler = np.repeat(motion["euler"][[int(motion["rest_frame"])]], 60, 0).astype(np.float64)
    lids, gaze = eye_course(style, euler, 5)
    mouth = np.full(len(motion["upper"]), 0.25, np.float32)
    rows = [play.row(k, mouth) for k in range(50)]
    np.testing.assert_allclose([row["exp"][style.columns] for row in rows], lids[:50], atol=1e-6)
    np.testing.assert_allclose([row["gaze"] for row in rows], gaze[:50], atol=1e-6)
    assert all(row["exp"][~motion["upper"]].min() == 0.25 for row in rows)
    with pytest.raises(InputError, match="clip or fixed"):
        Play(motion, "generated", 0)


@pytest.mark.parametrize(("n_in", "n_out", "kind"), [(40, 64, "lanczos"), (64, 40, "area"), (9, 64, "cubic")])
def test_sizes_change_as_in_opencv(n_in, n_out, kind):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).random((n_in, n_in)).astype(np.float32)
    how = {"lanczos": cv2.INTER_LANCZOS4, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}[kind]
    matrix = resample.resize_matrix(n_in, n_out, kind)
    np.testing.assert_allclose(
        matrix @ image @ matrix.T, cv2.resize(image, (n_out, n_out), interpolation=how), atol=2e-3
    )


def test_jpeg_without_opencv(tmp_path):
    image = (np.random.default_rng(0).random((12, 9, 3)) * 255).astype(np.uint8).repeat(5, 0).repeat(5, 1)
    write_image(tmp_path / "a.jpg", image)
    data = (tmp_path / "a.jpg").read_bytes()
    difference = decode_jpeg(data).astype(int) - read_image(tmp_path / "a.jpg")
    assert np.abs(difference).max() <= 4 and np.abs(difference).mean() < 0.5
    for damaged in (b"", b"no picture", data[:100]):
        with pytest.raises(InputError, match="not a picture"):
            decode_jpeg(damaged)
