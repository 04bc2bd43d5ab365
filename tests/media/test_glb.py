"""What the GLB writer writes, read back by the specification."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.media.glb import Animated, Morph, ViewedFrom, glb_bytes
from tests.oracles.gltf_reader import read_glb, read_scene

RNG = np.random.default_rng(0)
VERTS = RNG.normal(size=(7, 3))
NORMALS = np.r_[RNG.normal(size=(6, 3)), np.zeros((1, 3))]
UVS = RNG.uniform(size=(7, 2))
FACES = np.array([[0, 1, 2], [2, 1, 3], [4, 5, 6]])
PNG = b"\x89PNG\r\n\x1a\n, or what a test takes for one"


def _animated(n_weights: int) -> tuple[Animated, np.ndarray]:
    turns = Rotation.from_euler("xyz", RNG.uniform(-1, 1, (5, 3)))
    quaternions = turns.as_quat() * np.array([1, -1, 1, 1, -1])[:, None]  # the same turns, signs at random
    moves = RNG.normal(size=(5, 3))
    return Animated(
        np.arange(5) / 25, RNG.uniform(size=(5, n_weights)), quaternions, moves
    ), turns.as_matrix()


def test_mesh_targets_and_motion_come_back():
    morphs = [Morph(f"smile_{k}", RNG.normal(size=(7, 3))) for k in range(3)]
    animated, matrices = _animated(3)
    data = glb_bytes(VERTS, NORMALS, UVS, FACES, morphs=morphs, animated=animated, texture_png=PNG)
    scene = read_scene(data)
    np.testing.assert_array_equal(scene.positions, np.float32(VERTS))
    np.testing.assert_array_equal(scene.uvs, np.float32(UVS))
    np.testing.assert_array_equal(scene.faces, FACES)
    np.testing.assert_allclose(np.linalg.norm(scene.normals, axis=1), 1, atol=1e-6)  # also of the zero one
    assert list(scene.targets) == ["smile_0", "smile_1", "smile_2"] and scene.png == PNG
    assert ((scene.rotation[1:] * scene.rotation[:-1]).sum(1) > 0).all()  # viewers interpolate the short way
    for k in range(5):
        local = VERTS + sum(animated.weights[k, j] * morphs[j].displacement for j in range(3))
        np.testing.assert_allclose(scene.at(k), local @ matrices[k].T + animated.translations[k], atol=2e-6)


def test_a_still_mesh_without_anything_else():
    glb = read_glb(glb_bytes(VERTS, NORMALS, UVS, FACES))
    assert not {"animations", "images", "cameras"} & set(glb.document)
    assert "targets" not in glb.document["meshes"][0]["primitives"][0]
    assert glb.document["meshes"][0]["primitives"][0]["material"] == 0


def test_every_view_is_used_once_and_says_what_it_is_for():
    animated, _ = _animated(1)
    morphs = [Morph("jaw", VERTS)]
    glb = read_glb(glb_bytes(VERTS, NORMALS, UVS, FACES, morphs=morphs, animated=animated, texture_png=PNG))
    doc = glb.document
    used = [a["bufferView"] for a in doc["accessors"]] + [image["bufferView"] for image in doc["images"]]
    assert sorted(used) == list(range(len(doc["bufferViews"])))
    for number in range(len(doc["accessors"])):
        glb.accessor(number)
    primitive = doc["meshes"][0]["primitives"][0]
    targets = [doc["bufferViews"][doc["accessors"][k]["bufferView"]].get("target") for k in range(7)]
    assert [targets[k] for k in primitive["attributes"].values()] == [34962] * 3
    assert targets[primitive["indices"]] == 34963
    assert targets[primitive["targets"][0]["POSITION"]] == 34962


def test_a_camera_stands_before_the_face():
    doc = read_glb(
        glb_bytes(VERTS, NORMALS, UVS, FACES, camera=ViewedFrom(distance=1.0, yfov=0.5, aspect=1.5))
    ).document
    seen_by = doc["nodes"][1]
    assert seen_by["translation"] == [0, 0, 1.0] and doc["scenes"][0]["nodes"] == [0, 1]
    assert doc["cameras"][seen_by["camera"]]["perspective"] == {
        "yfov": 0.5,
        "aspectRatio": 1.5,
        "znear": 0.01,
    }


def test_many_vertices_get_larger_numbers():
    many = np.zeros((65536, 3))
    glb = read_glb(glb_bytes(many, many, many[:, :2], np.array([[0, 1, 65535]])))
    assert glb.accessor(glb.document["meshes"][0]["primitives"][0]["indices"]).tolist() == [0, 1, 65535]


def test_numbers_that_are_none_are_not_written():
    with pytest.raises(ValueError, match="finite"):
        glb_bytes(np.full((7, 3), np.nan), NORMALS, UVS, FACES)
