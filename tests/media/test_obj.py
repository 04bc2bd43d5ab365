"""OBJ text, read back line by line."""

from __future__ import annotations

import numpy as np

from talkjax.media.obj import mtl_text, obj_text


def test_a_mesh_comes_back():
    rng = np.random.default_rng(0)
    verts, uvs, faces = rng.normal(size=(5, 3)), rng.uniform(size=(5, 2)), np.array([[0, 1, 2], [2, 3, 4]])
    text = obj_text(verts, faces, uvs, note="one\ntwo", material=("a.mtl", "skin"))
    rows = [line.split() for line in text.splitlines()]
    assert rows[:3] == [["#", "one"], ["#", "two"], ["mtllib", "a.mtl"]] and ["usemtl", "skin"] in rows
    there = np.array([r[1:] for r in rows if r[0] == "v"], float)
    np.testing.assert_allclose(there, verts, atol=1e-6)
    places = np.array([r[1:] for r in rows if r[0] == "vt"], float)
    np.testing.assert_allclose(places, np.c_[uvs[:, 0], 1 - uvs[:, 1]], atol=1e-6)  # v goes up in OBJ
    corners = [[tuple(map(int, c.split("/"))) for c in r[1:]] for r in rows if r[0] == "f"]
    assert corners == [[(1, 1), (2, 2), (3, 3)], [(3, 3), (4, 4), (5, 5)]]
    assert "map_Kd texture.png" in mtl_text("skin", "texture.png")


def test_without_material_there_is_no_word_of_one():
    text = obj_text(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((3, 2)))
    assert "mtl" not in text and text.count("\n") == 7
