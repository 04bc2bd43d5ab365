"""Vertices are linear in the coefficients; normals point outward, weighted by area."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face import mesh468
from talkjax.face.model import face_verts, vertex_normals
from talkjax.face.person import person_model
from talkjax.face.points import landmark_vertices
from talkjax.types import EYES, MOUTH, FaceModel
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return person_model(drawn_neutral())


def test_verts_are_mean_plus_weighted_bases_and_batches_broadcast(model):
    rng = np.random.default_rng(0)
    identity = rng.normal(size=80).astype(np.float32)
    exp = rng.uniform(size=(3, 43)).astype(np.float32)
    verts = face_verts(model, jnp.asarray(identity), jnp.asarray(exp))
    expected = np.array(model.mean, np.float64)
    for k in range(80):
        expected += identity[k] * np.asarray(model.id_basis[k], np.float64)
    for e in range(43):
        expected += exp[2, e] * np.asarray(model.exp_basis[e], np.float64)
    assert verts.shape == (3, 468, 3)
    np.testing.assert_allclose(verts[2], expected, atol=5e-6)


def test_normals_match_a_loop_over_triangles():
    rng = np.random.default_rng(1)
    verts = rng.normal(size=(6, 3))
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 0, 4]])
    sums = np.zeros((6, 3))
    for face in faces:
        a, b, c = verts[face]
        for corner in face:
            sums[corner] += np.cross(b - a, c - a)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    expected = np.divide(sums, lengths, where=lengths > 0, out=np.zeros((6, 3)))
    normals = vertex_normals(jnp.float32(np.stack([verts, 2 * verts])), faces)
    np.testing.assert_allclose(normals, np.stack([expected, expected]), atol=1e-5)
    assert np.all(np.asarray(normals)[:, 5] == 0)  # vertex 5 has no triangle


def test_normals_without_area_have_finite_gradients():
    verts = jnp.zeros((3, 3))
    gradient = jax.grad(lambda v: vertex_normals(v, np.array([[0, 1, 2]])).sum())(verts)
    assert np.all(np.isfinite(gradient))


def test_normals_of_the_face_look_outward(model):
    normals = np.asarray(vertex_normals(model.mean, mesh468.FACES_SKIN))
    assert normals[10, 2] > 0  # forehead
    assert normals[234, 0] < -0.3 < 0.3 < normals[454, 0]  # cheeks by the ears
    assert normals[168, 2] > 0.5


def test_person_model_is_complete(model):
    assert model.mean.shape == (468, 3)
    assert model.id_basis.shape == (80, 468, 3)
    assert model.exp_basis.shape == (43, 468, 3)
    assert model.faces.shape == (898, 3)
    assert landmark_vertices(model).tolist() == list(range(468))
    assert len(model.exp_names) == 43


def test_uvs_are_a_map_of_the_face_with_room_for_the_holes(model):
    uvs = np.asarray(model.uvs)
    assert uvs.min() > 0
    assert uvs.max() < 1
    assert uvs[454, 0] > 0.9 > 0.1 > uvs[234, 0]  # u to image right
    assert uvs[152, 1] > 0.9 > 0.1 > uvs[10, 1]  # v down
    a, b, c = (uvs[np.asarray(model.faces)[:, i]] for i in range(3))
    # v points down, so counter-clockwise triangles turn the other way
    area = -np.cross(np.c_[b - a, np.zeros(len(a))], np.c_[c - a, np.zeros(len(a))])[:, 2] / 2
    region = np.asarray(model.face_region)
    assert (area > 0).mean() > 0.98
    for strip in (MOUTH, EYES):
        assert area[region == strip].min() > 0
        assert area[region == strip].sum() * 256**2 > 200  # texels of a 256 texture
