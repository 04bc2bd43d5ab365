"""The mesh tables form one oriented surface, and agree with the tables inside the landmark network."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.errors import InputError
from talkjax.face import mesh468 as mesh
from talkjax.track.landmark_layout import mesh_layout
from talkjax.track.tflite_graph import read_graph
from talkjax.types import EYES, MOUTH, SKIN


def _directed_edges(faces: np.ndarray) -> Counter:
    return Counter((int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True))


def test_all_faces_are_one_oriented_disc_bordered_by_the_face_oval():
    edges = _directed_edges(mesh.FACES)
    assert max(edges.values()) == 1  # two faces at an edge run along it in opposite directions
    border = {a: b for a, b in edges if (b, a) not in edges}
    loop = [10]
    while len(loop) < len(border):
        loop.append(border[loop[-1]])
    # counter-clockwise with y up: from the top down the image's left side; the table runs the other way
    np.testing.assert_array_equal(loop, [mesh.FACE_OVAL[0], *mesh.FACE_OVAL[:0:-1]])
    undirected = {frozenset(edge) for edge in edges}
    assert mesh.N_MESH - len(undirected) + len(mesh.FACES) == 1  # Euler characteristic of a disc


def test_strips_fill_exactly_the_holes_of_the_skin():
    edges = _directed_edges(mesh.FACES_SKIN)
    rim = {a for a, b in edges if (b, a) not in edges}
    holes = {*mesh.INNER_LIPS.tolist(), *mesh.LEFT_EYE.tolist(), *mesh.RIGHT_EYE.tolist()}
    assert holes | set(mesh.FACE_OVAL.tolist()) == rim
    assert set(mesh.FACES_MOUTH.ravel().tolist()) == set(mesh.INNER_LIPS.tolist())
    regions = [mesh.FACES[region == mesh.FACE_REGION] for region in (SKIN, MOUTH, EYES)]
    assert [len(r) for r in regions] == [852, 18, 28]
    np.testing.assert_array_equal(regions[1], mesh.FACES_MOUTH)


def test_lip_groups_partition_the_lips():
    parts = [*mesh.UPPER_LIP, *mesh.LOWER_LIP, *mesh.LIP_CORNERS]
    assert len(parts) == 80 and set(parts) == set(mesh.LIPS.tolist())
    assert set(mesh.OUTER_LIPS.tolist()) | set(mesh.INNER_LIPS.tolist()) == set(mesh.LIPS[:40].tolist())


def test_loops_follow_mesh_edges():
    edges = _directed_edges(mesh.FACES)
    for loop in (mesh.OUTER_LIPS, mesh.INNER_LIPS, mesh.LEFT_EYE, mesh.RIGHT_EYE, mesh.FACE_OVAL):
        for a, b in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True):
            assert (a, b) in edges or (b, a) in edges, (a, b)


def test_tables_are_those_of_the_network():
    try:
        files = landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    heads = [indices for _, indices in mesh_layout(read_graph(files["mesh"].read_bytes())).heads]
    lips, right_eye, left_eye = heads
    np.testing.assert_array_equal(lips, mesh.LIPS)
    assert set(right_eye[:16]) == set(mesh.RIGHT_EYE) and set(left_eye[:16]) == set(mesh.LEFT_EYE)
    assert set(mesh.RIGHT_BROW) < set(right_eye) and set(mesh.LEFT_BROW) < set(left_eye)
