"""A user's way: convert the files once, and the `paper` preset starts from them. Goldens are PyTorch's."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.assets.face_embedding_weights import load_face_embedding
from talkjax.assets.gan_weights import load_discriminator, load_generator, load_memory
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError
from talkjax.face.alignment import ARCFACE_FIVE, LANDMARKS_68
from talkjax.infer import identity_feature as feature
from talkjax.infer.outside_networks import begun, load_networks, settings_for, stage_inputs, trained_trunk
from talkjax.infer.paper_refiner import RANDOM_TRUNK, networks_used
from talkjax.nets.face_embedding import FaceEmbedding
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperRefinerTask
from tests.assets.test_face_embedding_weights import write_safetensors
from tests.cli.command import refused, run

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
GAN, FACES = GOLDENS / "gan", GOLDENS / "face_embedding"


@pytest.fixture(autouse=True)
def _own_assets(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TALKJAX_ASSETS", str(tmp_path / "assets"))


def same_leaves(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_converted_networks_are_found_and_started_from(capsys, tmp_path) -> None:
    assert stage_inputs() == {} and trained_trunk(load_networks()) is None
    assert networks_used(load_networks(), feature.SUBSTITUTE)["picture_feature"] == RANDOM_TRUNK
    code, out, _ = run(capsys, f"assets convert --kind=paper_gan --source={GAN} --license_accepted")
    assert code == 0 and "27,168 parameters" in out and "research only" in out
    assert (
        run(capsys, f"assets convert --kind=arcface --source={FACES}/iresnet.onnx --license_accepted")[0] == 0
    )
    listed = run(capsys, "assets list")[1]
    assert f"here: {tmp_path}/assets/networks/paper_gan.npz" in listed and "3_net_mem.pth" in listed
    assert "resnet18: " in listed and "random weights of a fixed seed" in listed
    assert sorted(stage_inputs()) == ["network arcface", "network paper_gan"]

    outside = load_networks()
    used = networks_used(outside, feature.SUBSTITUTE)
    assert "starts from the paper's" in used["generator"] and "ArcFace" in used["identity_feature"]
    settings = settings_for(outside, PaperRefinerSettings())
    sizes = (settings.size, settings.width, settings.adain_hidden, settings.n_values)
    assert sizes == (32, 1, 0, 8)
    assert (settings.n_keys, settings.n_slots, settings.trunk_width, settings.discriminator_width) == (
        6,
        5,
        2,
        2,
    )
    task = PaperRefinerTask(settings)
    abstract = jax.eval_shape(task.init)
    state = begun(abstract, outside, keep_bank=True)
    same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, state, abstract)
    assert all(jax.tree.leaves(same))
    assert begun(abstract, outside, keep_bank=False).bank is abstract.bank

    # what these parameters paint, judge and read is compared with PyTorch in tests/assets/test_gan_weights.py
    memory = load_memory(GAN / "3_net_mem.pth")
    same_leaves(state.params, load_generator(GAN / "3_net_G.pth"))
    same_leaves(state.discriminator, load_discriminator(GAN / "3_net_D.pth"))
    same_leaves(state.query, memory["query"])
    same_leaves(dataclasses.asdict(state.bank), memory["bank"])
    trunk = trained_trunk(outside)
    same_leaves(trunk.params, memory["trunk"])
    assert trunk.scale == 1 and not np.any(trunk.mean) and trunk.mean.shape == (16,)
    embedding = load_face_embedding(FACES / "iresnet.onnx")["embedding"]
    same_leaves(outside.get("embedding"), embedding)
    assert feature.recognition_net(embedding) == FaceEmbedding((1, 2, 1, 1), 3, 8)

    path = tmp_path / "assets" / "networks" / "paper_gan.npz"
    path.write_bytes(path.read_bytes()[:-2000])
    assert f"not usable: network {path}" in run(capsys, "assets list")[1]
    with pytest.raises(InputError, match="untouched npz"):
        load_networks()


def test_a_resnet18_alone_is_the_picture_feature(capsys, tmp_path) -> None:
    """As torchvision names it; the GAN's own trunk goes before it."""
    trunk = {k: v for k, v in read_torch_file(GAN / "3_net_mem.pth")["mem_model"].items() if "resnet." in k}
    file = write_safetensors(
        tmp_path / "r.safetensors",
        {k.removeprefix("resnet."): (0.5 * v).astype(v.dtype) for k, v in trunk.items()},
    )
    assert run(capsys, f"assets convert --kind=resnet18 --source={file} --license_accepted")[0] == 0
    alone = load_networks()
    assert alone.get("generator") is None and trained_trunk(alone).mean.shape == (16,)
    assert settings_for(alone, PaperRefinerSettings()) == PaperRefinerSettings(trunk_width=2)
    assert run(capsys, f"assets convert --kind=paper_gan --source={GAN} --license_accepted")[0] == 0
    assert "memory-augmented" in load_networks().names["trunk"]
    gan = load_memory(GAN / "3_net_mem.pth")["trunk"]["params"]["Conv_0"]["kernel"]
    np.testing.assert_array_equal(load_networks().get("trunk")["params"]["Conv_0"]["kernel"], gan)
    assert np.abs(alone.get("trunk")["params"]["Conv_0"]["kernel"] - gan).max() > 1e-3


def test_recognition_of_another_picture_size_is_refused() -> None:
    embedding = load_face_embedding(FACES / "iresnet.onnx")["embedding"]
    with pytest.raises(InputError, match="takes pictures of 32 pixels; expected 112 x 112"):
        feature.identity_feature(None, 8, embedding)


def test_conversions_that_are_refused(capsys, tmp_path) -> None:
    line = f"assets convert --kind=paper_gan --source={GAN}"
    refused(capsys, line, "research only", "--license_accepted")
    line += " --license_accepted"
    refused(capsys, f"{line} --n_id=3", "--n_id means nothing for --kind=paper_gan")
    refused(capsys, f"{line} --sha256={'0' * 64}", "3_net_G.pth has sha256", "0" * 64)
    refused(capsys, f"{line} --out=mine", "path that ends in .npz")
    refused(capsys, line.replace(str(GAN), str(tmp_path)), "has 0 generators (none)")
    refused(capsys, line.replace("paper_gan", "resnet18"), "IsADirectoryError")
    refused(capsys, line.replace(str(GAN), f"{GAN}/3_net_D.pth"), "is no generator of the reference's GAN")
    assert not list(tmp_path.rglob("*.npz"))


def test_faces_are_aligned_to_the_template() -> None:
    """Dots on the five points of a turned and scaled face come to lie on the template's."""
    turn = 2.0 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    five = ARCFACE_FIVE @ turn.T + [120, 60] + 0.5  # talkjax: the center of the first pixel is 0.5
    landmarks = np.zeros((478, 3))
    parts = {36: 0, 39: 0, 42: 1, 45: 1, 30: 2, 48: 3, 54: 4}
    for place, k in parts.items():
        landmarks[LANDMARKS_68[place], :2] = five[k]
    rows, columns = np.mgrid[0:480, 0:480] + 0.5
    frame = np.zeros((480, 480, 3))
    for x, y in five:
        frame += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)[..., None]
    face = feature.aligned_face(np.uint8(255 * frame.clip(0, 1)), landmarks)[..., 0].astype(float)
    y, x = np.mgrid[0:112, 0:112]
    for want in ARCFACE_FIVE:
        near = (abs(x - want[0]) < 7) & (abs(y - want[1]) < 7)
        weight = face * near
        got = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
        np.testing.assert_allclose(got, want, atol=0.25)


def test_a_substitute_s_vectors_keep_their_angles() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 64))
    rows[1] = rows[0] + 0.05 * rows[1]
    got = feature.projected(rows, 512)
    assert got.shape == (4, 512) and got[0] @ got[1] > 0.98 > got[0] @ got[2]
    np.testing.assert_allclose(np.linalg.norm(feature.projected(rows, 64), axis=1), 1, rtol=1e-5)


def test_small_embedding_that_ships() -> None:
    """The file fits its network, and answers unit vectors that depend on the picture alone."""
    network, about = feature.small_embedding()
    assert feature.EMBEDDED.stat().st_size < 600_000
    pictures = np.random.default_rng(0).integers(0, 256, (3, about["side"], about["side"], 3), np.uint8)
    rows = feature.embed(network, list(pictures))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(feature.embed(network, [pictures[2]])[0], rows[2], atol=1e-5)
    assert jnp.abs(rows[0] - rows[1]).max() > 1e-3
