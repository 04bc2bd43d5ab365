"""Drawn faces of the person that ships with the package: what is said to be there is there."""

from __future__ import annotations

import dataclasses
import functools
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.assets.model_file import save_model
from talkjax.data.face_samples import expression_table, sample_expressions
from talkjax.data.face_shards import MANIFEST, MODEL_FILE, FaceFolder, FaceRows
from talkjax.data.head_regions import EYE_LEFT, FACE
from talkjax.data.reconstruction_rows import FolderRows
from talkjax.data.synthetic_faces import FaceStage, draw_faces
from talkjax.data.synthetic_mesh import load_person
from talkjax.errors import InputError
from talkjax.face.crop_pose import network_camera
from talkjax.face.points import vertex_points
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.types import FaceModel

SIZE, COUNT = 48, 4
CORNERS = {33: (-4.6, 3.6, 7.4), 263: (4.6, 3.6, 7.4), 4: (0.0, -0.2, 13.0), 13: (0.0, -3.4, 11.2)}
"""Landmark -> place on the neutral head, cm."""


@functools.cache
def person_model() -> FaceModel:
    """The embedded head as a morphable model: 2 of its identity shapes, its expressions."""
    person = load_person()
    n, faces = len(person.verts), person.corner_vert[person.faces]
    exp = np.zeros((len(person.expression_names), n, 3), np.float32)
    exp[:, : person.expressions.shape[1]] = person.expressions
    axes = [load_person(row).verts - person.verts for row in np.eye(2)]
    places = [np.linalg.norm(person.verts * 10 - p, axis=1).argmin() for p in CORNERS.values()]
    return FaceModel(
        mean=jnp.asarray(person.verts, jnp.float32),
        id_basis=jnp.asarray(np.stack(axes), jnp.float32),
        exp_basis=jnp.asarray(exp),
        exp_signed=jnp.zeros(len(exp), bool),
        faces=jnp.asarray(faces, jnp.int32),
        face_region=jnp.zeros(len(faces), jnp.int32),
        uvs=jnp.zeros((n, 2)),
        landmarks=vertex_points(np.array(list(CORNERS)), np.array(places)),
        exp_names=person.expression_names,
    )


@pytest.fixture(scope="module")
def stage() -> FaceStage:
    return FaceStage.of(person_model())


def test_regions_are_where_a_head_has_them(stage) -> None:
    regions = stage.regions
    mean = np.asarray(stage.model.mean)[regions.verts]
    eyes = mean[regions.part >= EYE_LEFT]
    assert (regions.outward[regions.part == FACE][:, 2] > 0).mean() > 0.7  # faces the camera, not inside out
    lips = mean[regions.masks[0] > 0.5]
    assert lips[:, 1].max() < eyes[:, 1].min() and abs(lips[:, 0].mean()) < 0.02
    with pytest.raises(InputError, match="vertices"):
        FaceStage.of(dataclasses.replace(stage.model, mean=jnp.zeros((5, 3))))


def test_expressions_never_contradict_themselves() -> None:
    table = expression_table(person_model().exp_names)
    exp = np.asarray(jax.jit(lambda k: sample_expressions(k, table, 512))(jax.random.key(0)))
    assert exp.min() >= 0 and exp.max() <= 1

    def of(name: str) -> np.ndarray:
        return exp[:, table.column(name)]

    assert not ((of("eyeBlink_L") > 0.03) & (of("eyeWide_L") > 0.03)).any()
    assert not ((of("mouthPucker") > 0.03) & (of("mouthSmile_R") > 0.03)).any()
    assert (of("mouthClose") <= of("jawOpen") + 1e-6).all()
    np.testing.assert_array_equal(of("eyeLookIn_L"), of("eyeLookOut_R"))  # both eyes look the same way
    assert 0.15 < (of("eyeBlink_L") > 0.5).mean() < 0.45
    assert np.corrcoef(of("mouthSmile_L"), of("mouthSmile_R"))[0, 1] > 0.8


@pytest.mark.long
def test_pictures_show_what_the_truth_says(stage) -> None:
    """Skin differs from what is behind it; the two cameras of the truth agree on the landmarks."""
    images, truth = draw_faces(stage, jax.random.key(3), COUNT, SIZE, faults=False)
    again, _ = draw_faces(stage, jax.random.key(3), COUNT, SIZE, faults=False)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (COUNT, SIZE, SIZE, 3) and 0 <= float(images.min()) <= float(images.max()) <= 1
    part, coeffs = stage.landmarks, truth.coeffs
    shape = part.mean + np.einsum("nk,klc->nlc", coeffs.id_coeffs, part.id_basis)
    shape = jnp.asarray(shape + np.einsum("ne,elc->nlc", coeffs.exp_coeffs, part.exp_basis), jnp.float32)
    network = network_camera(jnp.full((COUNT, 2), SIZE / 2), jnp.full(COUNT, float(SIZE)))
    seen = jax.vmap(project)(apply_pose(shape, coeffs.pose), network)
    assert np.abs(np.asarray(seen - truth.landmarks)).max() < 0.06 * SIZE  # perspective differs, nothing else
    eyes = np.linalg.norm(np.asarray(truth.landmarks[:, 0] - truth.landmarks[:, 1]), axis=-1)
    assert (eyes > 0.25 * SIZE).all() and (eyes < 0.6 * SIZE).all()
    pixels, nose = np.asarray(images), np.asarray(truth.landmarks[:, 2])
    for k in range(COUNT):
        x, y = np.clip(nose[k].astype(int), 2, SIZE - 3)
        patch = pixels[k, y - 2 : y + 3, x - 2 : x + 3]
        assert patch.std((0, 1)).max() < 0.35 and patch.mean() > 0.01


def _folder(path, count: int = 20) -> None:
    """A shard as `make_faces` writes it, with pictures of one gray each."""
    save_model(path / MODEL_FILE, person_model())
    (path / MANIFEST).write_text(
        json.dumps({"kind": "synthetic_faces", "shards": 1, "size": 16, "count": count})
    )
    packed = [cv2.imencode(".jpg", np.full((16, 16, 3), 10 * k, np.uint8))[1] for k in range(count)]
    fields = [name for name in FaceRows._fields if name != "images"]
    np.savez(
        path / "faces-00000.npz",
        pictures=np.concatenate(packed),
        ends=np.cumsum([len(p) for p in packed]),
        **{name: np.arange(count, dtype=np.float32) for name in fields},
    )


def test_a_folder_gives_every_face_once_before_any_again(tmp_path) -> None:
    _folder(tmp_path)
    train, held = FaceFolder(tmp_path, "train"), FaceFolder(tmp_path, "heldout")
    assert (len(train), len(held)) == (18, 2)
    rows = FolderRows(train, batch=6, seed=1, n_landmarks=4)
    read = [rows(step, k) for step in range(6) for k in range(6)]
    order = [int(row.focal) for row in read]
    assert sorted(order[:18]) == sorted(order[18:]) == list(range(18)) and order[:18] != order[18:]
    assert all(abs(int(row.images.mean()) - 10 * int(row.focal)) <= 2 for row in read)
    assert {int(held.row(k).focal) for k in range(2)} == {18, 19}


def test_a_folder_that_is_not_whole_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no faces in"):
        FaceFolder(tmp_path, "train")
    _folder(tmp_path)
    (tmp_path / "faces-00000.npz").unlink()
    with pytest.raises(InputError, match=r"1 of 1 shards are missing.*run launch.make_faces again"):
        FaceFolder(tmp_path, "train")
