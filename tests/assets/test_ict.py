"""ICT-FaceKit's real files against a slow reading of them, and files that are not them."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from talkjax.assets.ict import load_ict
from talkjax.assets.landmark_files import TRACKED_OF_68
from talkjax.assets.obj_reader import read_mesh, read_vertices
from talkjax.errors import InputError
from talkjax.types import EYES, MOUTH, SKIN
from tests.assets.generated_models import unit_normals
from tests.conftest import data_dir

N_FACE = 6706  # vertices of the face's front; they come first and keep their numbers


@pytest.fixture(scope="module")
def facekit() -> pathlib.Path:
    folder = data_dir() / "ict_facekit"
    if not (folder / "FaceXModel").is_dir():
        pytest.skip("ICT-FaceKit is not at hand: ict_facekit (set TALKJAX_DATA)")
    return folder


@pytest.fixture(scope="module")
def model(facekit):
    return load_ict(facekit, n_id=4).model


def _slow_vertices(path: pathlib.Path, count: int) -> np.ndarray:
    rows = []
    with path.open() as file:
        for line in file:
            if line.startswith("v "):
                rows.append([float(word) for word in line.split()[1:]])
                if len(rows) == count:
                    return np.array(rows)
    raise AssertionError("too few")


def test_shapes_are_those_of_the_files_in_decimetres(facekit, model):
    folder = facekit / "FaceXModel"
    neutral = _slow_vertices(folder / "generic_neutral_mesh.obj", N_FACE)
    points = json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    origin = neutral[[points[8], *points[17:]]].mean(0)
    np.testing.assert_allclose(np.asarray(model.mean)[:N_FACE], (neutral - origin) / 10, atol=1e-6)
    jaw = _slow_vertices(folder / "jawOpen.obj", N_FACE)
    axis = model.exp_names.index("jawOpen")
    np.testing.assert_allclose(np.asarray(model.exp_basis)[axis, :N_FACE], (jaw - neutral) / 10, atol=1e-6)
    third = _slow_vertices(folder / "identity003.obj", N_FACE)
    np.testing.assert_allclose(np.asarray(model.id_basis)[3, :N_FACE], (third - neutral) / 10, atol=1e-6)
    assert model.id_basis.shape[0] == 4 and model.exp_basis.shape[0] == len(model.exp_names) == 53
    assert not np.asarray(model.exp_signed).any() and 1.0 <= model.exp_limit <= 1.3


def test_landmarks_and_directions(facekit, model):
    points = json.loads((facekit / "FaceXModel" / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    inner = TRACKED_OF_68[17:]
    verts = np.asarray(model.landmarks.verts)
    assert verts[inner, 0].tolist() == points[17:] and np.asarray(model.landmarks.bary)[inner, 0].min() == 1
    assert verts.max() < N_FACE  # all on the skin
    mean = np.asarray(model.mean)
    normals = unit_normals(mean, np.asarray(model.faces))
    tip, chin, brow = verts[4, 0], verts[152, 0], verts[105, 0]
    assert normals[tip, 2] > 0.7 and normals[chin, 2] > 0.3 and normals[brow, 2] > 0.5
    assert mean[chin, 1] < mean[tip, 1] < mean[brow, 1] and mean[tip, 2] > mean[:, 2].max() - 0.05
    left = model.exp_names.index("eyeBlink_L")  # the person's left: image right, x > 0
    moved = np.abs(np.asarray(model.exp_basis)[left]).max(-1)
    assert mean[moved > 0.02, 0].min() > 0


def test_parts_have_their_regions_and_their_own_texture(model):
    region, faces, mean = (np.asarray(x) for x in (model.face_region, model.faces, model.mean))
    uvs = np.asarray(model.uvs)
    assert uvs.min() >= 0 and uvs.max() <= 1 and set(region) == {SKIN, MOUTH, EYES}
    skin, mouth, eyes = (np.unique(faces[region == r]) for r in (SKIN, MOUTH, EYES))
    assert skin.tolist() == list(range(N_FACE)) and not set(mouth) & set(eyes)
    assert uvs[skin, 1].max() < 0.8 < min(uvs[mouth, 1].min(), uvs[eyes, 1].min())
    assert np.corrcoef(uvs[skin, 0], mean[skin, 0])[0, 1] > 0.98  # u to image right, v down
    assert np.corrcoef(uvs[skin, 1], mean[skin, 1])[0, 1] < -0.98
    # no triangle reaches from one piece of the texture to another
    spread = uvs[faces].max(1) - uvs[faces].min(1)
    assert spread[region == SKIN].max() < 0.06 and spread[region != SKIN, 0].max() < 1 / 7
    lids = np.asarray(model.landmarks.verts)[[33, 133, 263, 362], 0]
    assert np.abs(mean[eyes, 0]).max() < np.abs(mean[lids, 0]).max() + 0.1


def _links(facekit: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The folder again, of links that a test may replace."""
    base = folder / "FaceXModel"
    base.mkdir()
    for path in (facekit / "FaceXModel").iterdir():
        (base / path.name).symlink_to(path)
    (folder / "LICENSE").symlink_to(facekit / "LICENSE")
    return base


def test_other_files_are_refused(facekit, tmp_path):
    base = _links(facekit, tmp_path)

    def refused(text: str) -> None:
        with pytest.raises(InputError, match=text) as caught:
            load_ict(tmp_path, n_id=1)
        assert "\n" not in str(caught.value)

    (base / "identity000.obj").unlink()
    (base / "identity000.obj").write_bytes(
        (facekit / "FaceXModel" / "identity000.obj").read_bytes()[:400_000]
    )
    refused("identity000.obj: not a whole OBJ file")
    (base / "vertex_indices.json").unlink()
    (base / "vertex_indices.json").write_text('{"expressions": ["../../x"], "idx_to_landmark_verts": [1]}')
    refused("vertex_indices.json: holds other names")
    (tmp_path / "LICENSE").unlink()
    (tmp_path / "LICENSE").write_text(
        (facekit / "LICENSE").read_text().replace("free of charge", "for money")
    )
    refused("LICENSE: has sha256 .*; expected b20a78d8")
    (tmp_path / "LICENSE").unlink()
    refused("LICENSE: No such file")
    (tmp_path / "LICENSE").symlink_to(facekit / "LICENSE")
    (base / "generic_neutral_mesh.obj").unlink()
    refused("generic_neutral_mesh.obj: No such file")
    (base / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    refused("has 3 vertices; expected 26719")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("v 0 0 zero\nvt 0 0\nf 1/1 1/1 1/1\n", "not three numbers"),
        ("v 0 0 0\nv 1 1\nvt 0 0\n", "has 1.66667 vertices"),
        ("v 0 0 0\nvt 0 0\nf 1/1 1/1 2/1\n", "a corner that is not there"),
        ("v 0 0 0\nvt 0 0\nf 1 1 1\n", "not a whole OBJ file"),
        ("v 0 0 0\nvt 0 0\n", "no polygons"),
        ("v 0 0 0\nf 1/1 1/1 1/1\n", "not a whole OBJ file"),
    ],
)
def test_obj_files_that_are_not_whole_are_refused(tmp_path, text, problem):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_mesh(tmp_path / "a.obj")


def test_polygons_become_fans(tmp_path):
    lines = [*(f"v {k} 0 0" for k in range(7)), *(f"vt 0.{k} 0" for k in range(7)), "usemtl A"]
    lines += ["f 1/1 2/2 3/3 4/4", "usemtl B", "f 5/5/1 6/6/1 7/7/1", "f 1/7 2/6 3/5 4/4 5/3"]
    (tmp_path / "a.obj").write_text("# made\n" + "\n".join(lines) + "\n")
    mesh = read_mesh(tmp_path / "a.obj")
    triangles = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert mesh.faces.tolist() == triangles and mesh.material.tolist() == list("AABBBB")
    assert mesh.uv_faces[-1].tolist() == [6, 3, 2]
    assert read_vertices(tmp_path / "a.obj", 7)[:, 0].tolist() == list(range(7))
