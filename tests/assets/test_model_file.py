"""The stored form: bit for bit there and back, and refused as soon as anything does not fit."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.assets.face_models import find_model
from talkjax.assets.model_file import load_model, model_arrays, save_model
from talkjax.assets.model_manifest import FACE_MODEL, MANIFEST, Manifest, content_digest, read_manifest
from talkjax.errors import InputError
from talkjax.face.points import vertex_points
from talkjax.types import FaceModel, Skeleton


def _model() -> FaceModel:
    rng = np.random.default_rng(0)

    def values(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return FaceModel(
        mean=values(6, 3),
        id_basis=values(2, 6, 3),
        exp_basis=values(4, 6, 3),
        exp_signed=jnp.array([True, False, True, False]),
        faces=jnp.array([[0, 1, 2], [3, 4, 5]], jnp.int32),
        face_region=jnp.array([0, 2], jnp.int32),
        uvs=values(6, 2),
        landmarks=vertex_points(np.array([4, 152]), np.array([0, 5])),
        tex_mean=values(6, 3),
        tex_basis=values(3, 6, 3),
        skeleton=Skeleton(values(3, 3), values(6, 3, 3), values(6, 3), values(18, 6, 3), (-1, 0, 0), (1,)),
        exp_names=(*"abcd", "jaw_x", "jaw_y", "jaw_z"),
        exp_limit=2.5,
        name="small",
    )


def test_there_and_back_bit_for_bit(tmp_path):
    model = _model()
    digest = save_model(tmp_path / "deep" / "a.npz", model, Manifest(kind="ict", sources={"x.obj": "00"}))
    back = load_model(tmp_path / "deep" / "a.npz")
    assert jax.tree.structure(back) == jax.tree.structure(model)  # with the static fields
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(back), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    header = read_manifest(tmp_path / "deep" / "a.npz")
    assert header["kind"] == "ict" and header["sources"] == {"x.obj": "00"} and header["units"] == "dm"
    assert header["sha256"] == digest and header["shapes"]["id_basis"] == [2, 6, 3]
    bare = dataclasses.replace(model, skeleton=None, tex_mean=None, tex_basis=None, exp_names=tuple("abcd"))
    save_model(tmp_path / "b.npz", bare)
    assert load_model(tmp_path / "b.npz").skeleton is None
    save_model(tmp_path / "c.npz", bare)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["b.npz", "c.npz", "deep"]


def _rewritten(path, harm) -> None:
    """Changes arrays or manifest and gives the whole a valid digest again."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    header = json.loads(arrays.pop(MANIFEST).tobytes())
    harm(arrays, header)
    header["shapes"] = {name: list(a.shape) for name, a in sorted(arrays.items())}
    header["sha256"] = content_digest(arrays, header)
    np.savez(path, **{MANIFEST: np.frombuffer(json.dumps(header).encode(), np.uint8)}, **arrays)


def _set(name, value):
    def harm(arrays, header):
        arrays[name] = np.asarray(value(arrays[name]) if callable(value) else value)

    return harm


def _nan(values):
    values = np.array(values)
    values.flat[3] = np.nan
    return values


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (_set("mean", lambda a: a[:5]), "id_basis of shape"),
        (_set("uvs", lambda a: a[:, :1]), r"uvs of shape \[6, 1\] where \[v=6, 2\]"),
        (_set("exp_signed", [True]), "exp_signed of shape"),
        (_set("mean", _nan), "numbers in mean that are not finite"),
        (_set("tex_basis", _nan), "numbers in tex_basis that are not finite"),
        (_set("faces", lambda a: a + 1), r"faces outside 0\.\.5: 1\.\.6"),
        (_set("faces", lambda a: a.astype(np.float32)), "faces of type float32"),
        (_set("landmarks.verts", lambda a: a - 1), "landmarks.verts outside"),
        (_set("landmarks.number", [4, 468]), "landmarks.number outside"),
        (_set("face_region", [0, 3]), "face_region outside"),
        (_set("exp_names", ["a"]), "1 exp_names for 7 axes"),
        (_set("exp_limit", 0.0), "exp_limit 0"),
        (_set("skeleton.parents", [-1, 2, 0]), "parents do not come first"),
        (_set("skeleton.joint_basis", lambda a: a[:5]), "skeleton that does not fit"),
        (_set("surprise", 1), "unknown array 'surprise'"),
        (lambda a, h: a.pop("uvs"), "lacks uvs"),
        (lambda a, h: a.pop("skeleton.moving"), "lacks skeleton.moving"),
        (lambda a, h: h.update(format="talkjax face model 9"), "format 'talkjax face model 9'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, harm, text):
    path = tmp_path / "a.npz"
    save_model(path, _model())
    _rewritten(path, harm)
    with pytest.raises(InputError, match=text) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_change_without_a_new_digest_is_seen(tmp_path):
    path = tmp_path / "a.npz"
    save_model(path, _model(), Manifest(license="MIT"))
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    moved = {**arrays, "mean": arrays["mean"] + np.float32(1e-6)}
    license_changed = arrays[MANIFEST].tobytes().replace(b'"MIT"', b'"BSD"')
    for changed in (moved, {**arrays, MANIFEST: np.frombuffer(license_changed, np.uint8)}):
        np.savez(path, **changed)
        with pytest.raises(InputError, match="does not have the sha256"):
            load_model(path)


def test_files_of_other_programs_are_refused(tmp_path):
    path = tmp_path / "a.npz"

    def refused(text: str) -> None:
        with pytest.raises(InputError, match=text) as caught:
            load_model(path)
        assert caught.value.code.startswith("face_model") and "\n" not in str(caught.value)

    refused("No such file")
    save_model(path, _model())
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        refused("cannot be read")
    np.savez(path, mean=np.zeros(3))
    refused("has no manifest")
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    refused("cannot be read")
    np.savez(path, **{MANIFEST: np.array([{"format": FACE_MODEL.format}], dtype=object)})
    refused("cannot be read")  # a pickle inside
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no model")
    refused("has no manifest")


def test_models_are_found_by_name_and_path(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TALKJAX_ASSETS", raising=False)
    assert find_model("lifted", tmp_path) is None
    save_model(tmp_path / "face_models" / "mine.npz", _model())
    assert find_model("mine", tmp_path).name == "small"
    assert find_model(tmp_path / "face_models" / "mine.npz").name == "small"
    with pytest.raises(InputError, match=r"no face model 'flame'; expected lifted, mine, or.*--kind=flame"):
        find_model("flame", tmp_path)
    assert find_model("lifted") is None


def test_a_model_that_does_not_fit_is_not_written(tmp_path):
    broken = dataclasses.replace(_model(), uvs=jnp.zeros((5, 2)))
    with pytest.raises(InputError, match="uvs of shape"):
        save_model(tmp_path / "a.npz", broken)
    assert not list(tmp_path.iterdir())
    assert set(model_arrays(_model())) >= {"mean", "skeleton.parents"}
