"""Loaders of BFM 2009, BFM 2017/2019 and FLAME against plain numpy, on generated files of their layouts."""

from __future__ import annotations

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from talkjax.assets.bfm09 import load_bfm09
from talkjax.assets.bfm_h5 import load_bfm_h5
from talkjax.assets.flame import load_flame
from talkjax.assets.landmark_files import TRACKED_OF_68, read_68
from talkjax.errors import InputError
from talkjax.face.mesh468 import FACES
from talkjax.face.model import face_verts
from talkjax.face.points import points_at
from tests.assets import generated_models as made
from tests.oracles.skinning_oracle import flame_verts

_verts = jax.jit(face_verts)


@pytest.fixture(scope="module")
def bfm09(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bfm09")
    return folder, made.write_bfm09(folder), load_bfm09(folder).model


@pytest.fixture(scope="module")
def flame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flame")
    arrays = made.write_flame(folder)
    return folder, arrays, load_flame(folder / "generic_model.pkl").model


@pytest.fixture(scope="module")
def bfm_h5(tmp_path_factory):
    pytest.importorskip("h5py", reason="h5py is not installed (extra models)")
    path = tmp_path_factory.mktemp("bfm17") / "model2017-1_face12_nomouth.h5"
    arrays = made.write_bfm_h5(path)
    return path, arrays, load_bfm_h5(path, "bfm17").model


def _face_looks_out(model) -> None:
    """Triangles are counter-clockwise from outside: at the nose tip the normal points along +z."""
    tip = int(np.asarray(model.landmarks.verts)[4, 0])
    assert made.unit_normals(np.asarray(model.mean), np.asarray(model.faces))[tip, 2] > 0.6
    uvs = np.asarray(model.uvs)
    assert uvs.min() >= 0 and uvs.max() <= 1
    left, right = (np.asarray(model.landmarks.verts)[k, 0] for k in (61, 291))
    assert uvs[left, 0] < uvs[right, 0] and uvs[tip, 1] < uvs[left, 1]  # v goes down


# ---------------------------------------------------------------------------------- BFM 2009


def test_bfm09_is_assembled_as_the_reference_says(bfm09):
    _, source, model = bfm09
    assert (model.id_basis.shape, model.exp_basis.shape) == ((80, 468, 3), (64, 468, 3))
    assert model.tex_basis.shape == (80, 468, 3)
    rng = np.random.default_rng(3)
    alpha, beta, delta = rng.normal(size=80), rng.normal(size=64), rng.normal(size=80)
    a = {name: values.astype(np.float64) for name, values in source.arrays.items()}
    # the reference's own order: whole arrays first, subsets last
    shape = a["shapeMU"][:, 0] + (a["shapePC"] * a["shapeEV"][:, 0])[:, :80] @ alpha
    texture = a["texMU"][:, 0] + (a["texPC"] * a["texEV"][:, 0])[:, :80] @ delta
    moved = (source.exp_basis.astype(np.float64).T * source.exp_std)[:, :64] @ beta
    rows = source.trim[source.front]
    expected = shape.reshape(-1, 3)[rows] / 1e5 + moved.reshape(-1, 3)[source.front] / 1e5
    expected -= a["shapeMU"].reshape(-1, 3)[rows].mean(0) / 1e5
    verts = _verts(model, jnp.asarray(alpha, jnp.float32), jnp.asarray(beta, jnp.float32))
    np.testing.assert_allclose(np.asarray(verts), expected, atol=3e-5)
    albedo = np.asarray(model.tex_mean) + np.einsum("k,kvc->vc", delta, np.asarray(model.tex_basis))
    np.testing.assert_allclose(albedo * 255, texture.reshape(-1, 3)[rows], atol=2e-3)
    np.testing.assert_array_equal(np.asarray(model.faces), FACES)
    assert np.asarray(model.exp_signed).all() and model.exp_limit == 3.0
    _face_looks_out(model)


def test_bfm09_landmarks_lie_on_the_keypoints(bfm09):
    number = np.asarray(bfm09[2].landmarks.number)
    assert number.tolist() == list(range(468))
    inner = TRACKED_OF_68[17:]
    assert np.asarray(bfm09[2].landmarks.verts)[inner, 0].tolist() == inner.tolist()
    # the mesh is the template itself, so the others must find their own places too
    places = np.asarray(points_at(bfm09[2].mean, bfm09[2].landmarks))
    assert np.abs(places - np.asarray(bfm09[2].mean)).max() < 0.02


def _truncate(path: pathlib.Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _drop_component(path: pathlib.Path) -> None:
    data = scipy.io.loadmat(path)
    data["shapePC"] = data["shapePC"][:, :-1]
    scipy.io.savemat(path, {k: v for k, v in data.items() if not k.startswith("__")})


@pytest.mark.parametrize(
    ("name", "harm", "text"),
    [
        ("Exp_Pca.bin", _truncate, "79 expressions of 520 vertices"),
        ("01_MorphableModel.mat", _truncate, "not a readable MATLAB file"),
        ("01_MorphableModel.mat", _drop_component, r"shapePC has shape \[1800, 198\]"),
        ("facemodel_info.mat", lambda p: scipy.io.savemat(p, {"tri": np.ones((3, 3))}), "lacks keypoints"),
        ("BFM_front_idx.mat", lambda p: scipy.io.savemat(p, {"idx": [[0, 1, 2]]}), "indices 0 to 2"),
        ("BFM_front_idx.mat", lambda p: scipy.io.savemat(p, {"idx": [[1, 521]]}), "indices 1 to 521"),
        ("std_exp.txt", lambda p: p.write_text("1 2 3"), "3 numbers"),
        ("BFM_exp_idx.mat", pathlib.Path.unlink, "No such file"),
    ],
)
def test_bfm09_files_that_do_not_fit_are_refused(bfm09, tmp_path, name, harm, text):
    shutil.copytree(bfm09[0], tmp_path / "bfm")
    harm(tmp_path / "bfm" / name)
    with pytest.raises(InputError, match=text) as caught:
        load_bfm09(tmp_path / "bfm")
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_bfm09_has_no_more_components_than_its_file(bfm09):
    with pytest.raises(InputError, match="79 components, 80 were asked for"):
        load_bfm09(bfm09[0], n_exp=80)


# ---------------------------------------------------------------------------------- BFM 2017 and 2019


def test_bfm_h5_scales_and_sums(bfm_h5):
    _, arrays, model = bfm_h5
    rng = np.random.default_rng(4)
    alpha, beta, delta = rng.normal(size=80), rng.normal(size=64), rng.normal(size=80)
    a = {name: np.asarray(values, np.float64) for name, values in arrays.items()}

    def instance(part: str, coeffs: np.ndarray) -> np.ndarray:
        basis, variance = a[f"{part}/model/pcaBasis"], a[f"{part}/model/pcaVariance"]
        total = a[f"{part}/model/mean"].copy()
        for k, value in enumerate(coeffs):
            total += value * np.sqrt(variance[k]) * basis[:, k]
        return total.reshape(-1, 3)

    mm = instance("shape", alpha) + instance("expression", beta)
    neutral = instance("shape", []) + instance("expression", [])
    verts = np.asarray(_verts(model, jnp.asarray(alpha, jnp.float32), jnp.asarray(beta, jnp.float32)))
    known = sorted(k for name, k in made.LANDMARK_NAMES.items() if "ear" not in name)
    np.testing.assert_allclose(verts, (mm - neutral[known].mean(0)) / 100, atol=2e-5)
    albedo = np.asarray(model.tex_mean) + np.einsum("k,kvc->vc", delta, np.asarray(model.tex_basis))
    np.testing.assert_allclose(albedo, instance("color", delta), atol=1e-5)
    assert np.asarray(model.landmarks.verts)[known, 0].tolist() == known
    _face_looks_out(model)


def test_bfm_h5_turned_triangles_are_turned_back(bfm_h5, tmp_path):
    import h5py

    path = shutil.copy(bfm_h5[0], tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        cells = file["shape/representer/cells"][:][::-1]
        file["shape/representer/cells"][...] = cells
    _face_looks_out(load_bfm_h5(tmp_path / "a.h5", "bfm19", n_id=2, n_exp=2, n_tex=2).model)


def test_bfm_h5_that_is_none_is_refused(bfm_h5, tmp_path):
    import h5py

    path = tmp_path / "a.h5"

    def refused(text: str, **options) -> None:
        with pytest.raises(InputError, match=text) as caught:
            load_bfm_h5(path, "bfm17", **options)
        assert "a.h5" in str(caught.value) and "\n" not in str(caught.value)

    refused("No such file")
    path.write_bytes(b"no hdf5 at all" * 100)
    refused("not a readable HDF5 file")
    shutil.copy(bfm_h5[0], path)
    _truncate(path)
    refused("not a readable HDF5 file")
    shutil.copy(bfm_h5[0], path)
    refused("100 components, 101 were asked for", n_exp=101)
    with h5py.File(path, "r+") as file:
        del file["metadata/landmarks/json"]
    refused("--landmarks=FILE")
    numbers = tmp_path / "points.txt"
    numbers.write_text("\n".join(map(str, TRACKED_OF_68)))
    assert load_bfm_h5(path, "bfm17", numbers, n_id=2, n_exp=2, n_tex=2).files == (path, numbers)
    with h5py.File(path, "r+") as file:
        del file["color/model/pcaVariance"]
        file["color/model/pcaVariance"] = np.ones(7)
    refused("/color/model/pcaBasis has shape")
    with h5py.File(path, "r+") as file:
        del file["expression"]
    refused("lacks /expression/model/mean")


# ---------------------------------------------------------------------------------- FLAME


@pytest.mark.parametrize("seed", [0, 1])
def test_flame_turns_its_joints_as_the_paper_says(flame, seed):
    _, arrays, model = flame
    rng = np.random.default_rng(seed)
    betas, expression = rng.normal(size=300), rng.normal(size=100)
    turns = rng.normal(0, 0.4, (3, 3)) * seed  # seed 0: at rest
    vectors = np.concatenate([np.zeros((2, 3)), turns])
    expected = flame_verts(arrays, betas, expression, vectors) * 10
    embedding, neutral = made.embedding_arrays(), np.asarray(arrays["v_template"]) * 10
    marks = np.einsum("nk,nkc->nc", embedding["lmk_b_coords"], neutral[FACES[embedding["lmk_face_idx"]]])
    exp_coeffs = jnp.asarray(np.concatenate([expression, turns.reshape(-1)]), jnp.float32)
    verts = np.asarray(_verts(model, jnp.asarray(betas, jnp.float32), exp_coeffs))
    np.testing.assert_allclose(verts, expected - marks.mean(0), atol=3e-5)


def test_flame_marks_lie_inside_their_triangles(flame):
    _, _, model = flame
    embedding = made.embedding_arrays()
    rows = TRACKED_OF_68[17:]
    assert np.asarray(model.landmarks.bary)[rows] == pytest.approx(embedding["lmk_b_coords"])
    triangles = np.asarray(model.landmarks.verts)[rows]
    np.testing.assert_array_equal(triangles, FACES[embedding["lmk_face_idx"]])
    assert len(model.exp_names) == 109 and model.exp_names[100] == "jaw_x"
    _face_looks_out(model)


def test_flame_of_2023_has_plain_arrays_and_other_landmark_files(flame, tmp_path):
    """numpy 2's own pickle, protocol 4, and the 68 points as an npy that holds a dict."""
    import pickle

    arrays = {**flame[1], "f": flame[1]["f"].astype(np.int64)}
    (tmp_path / "flame2023.pkl").write_bytes(pickle.dumps(arrays, protocol=4))
    inner = made.embedding_arrays()
    outline = [np.flatnonzero((v == FACES).any(1))[0] for v in TRACKED_OF_68[:17]]
    bary = np.concatenate(
        [np.where(FACES[outline] == TRACKED_OF_68[:17, None], 0.8, 0.1), inner["lmk_b_coords"]]
    )
    index = np.concatenate([outline, inner["lmk_face_idx"]])
    held = np.array({"full_lmk_faces_idx": index[None], "full_lmk_bary_coords": bary[None]}, dtype=object)
    np.save(tmp_path / "landmark_embedding.npy", held, allow_pickle=True)
    model = load_flame(tmp_path / "flame2023.pkl", n_id=5, n_exp=4).model
    np.testing.assert_array_equal(np.asarray(model.id_basis), np.asarray(flame[2].id_basis)[:5])
    triangles = np.asarray(model.landmarks.verts)
    np.testing.assert_array_equal(triangles[152], FACES[outline[8]])  # the chin is known too


@pytest.mark.parametrize(
    ("key", "change", "text"),
    [
        ("shapedirs", lambda a: a[:, :, :300], "shapedirs has 300 axes"),
        ("weights", lambda a: a[:-1], r"weights has shape \[467, 5\]"),
        ("f", lambda a: a + 1, "f names vertices up to 468"),
        ("kintree_table", lambda a: a[:, ::-1], "parents"),
        ("posedirs", lambda a: a * np.nan, "posedirs has numbers that are not finite"),
        ("J_regressor", None, "lacks J_regressor"),
    ],
)
def test_flame_arrays_that_do_not_fit_are_refused(flame, monkeypatch, key, change, text):
    raw = {name: np.asarray(v.toarray() if hasattr(v, "toarray") else v) for name, v in flame[1].items()}
    if change is None:
        path = flame[0] / "lacking.pkl"
        path.write_bytes(made.python2_pickle({k: v for k, v in flame[1].items() if k != key}))
        with pytest.raises(InputError, match=text):
            load_flame(path)
        return
    from talkjax.assets.flame import _check

    with pytest.raises(InputError, match=text):
        _check(pathlib.Path("x.pkl"), {**raw, key: change(raw[key])})


# ---------------------------------------------------------------------------------- landmark files


def test_landmark_files_in_all_their_forms(tmp_path):
    expected = dict(enumerate(range(100, 168)))
    np.save(tmp_path / "a.npy", np.arange(100, 168))
    np.savez(tmp_path / "a.npz", points=np.arange(100, 168)[None])
    (tmp_path / "a.txt").write_text("# vertices\n" + " ".join(map(str, range(100, 168))))
    for name in ("a.npy", "a.npz", "a.txt"):
        assert read_68(tmp_path / name) == expected
    (tmp_path / "b.txt").write_text("9 = 47846 # chin\n18 = 5\n")  # as in eos' ibug_to_*.txt
    assert read_68(tmp_path / "b.txt") == {8: 47846, 17: 5}
    for text in ("1 2 3", "", "a b", "0 = 5", json.dumps([1] * 68)):
        (tmp_path / "c.txt").write_text(text)
        with pytest.raises(InputError, match="68 vertex numbers"):
            read_68(tmp_path / "c.txt")
