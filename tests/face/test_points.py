"""Cutting models down and moving their mean: the same vertices as the whole model's, joints included."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.model import face_verts
from talkjax.face.person import person_model
from talkjax.face.points import (
    at_vertices,
    landmark_part,
    landmark_rows,
    landmark_vertices,
    points_at,
    with_identity,
    without_identity,
)
from talkjax.types import FaceModel, SurfacePoints
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.jointed_face import jointed

N_ID = 4


@pytest.fixture(scope="module")
def linear() -> FaceModel:
    return person_model(drawn_neutral(), n_id=N_ID)


@pytest.fixture(scope="module", params=["linear", "jointed"])
def model(request, linear) -> FaceModel:
    return linear if request.param == "linear" else jointed(linear)


def coeffs(model: FaceModel) -> tuple[jnp.ndarray, jnp.ndarray]:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=N_ID)), jnp.asarray(rng.uniform(0, 0.4, len(model.exp_names)))


def test_some_vertices_are_those_of_the_whole(model):
    some = np.array([5, 13, 14, 152, 5])
    np.testing.assert_allclose(
        face_verts(at_vertices(model, some), *coeffs(model)),
        face_verts(model, *coeffs(model))[some],
        atol=1e-5,
    )


def test_an_identity_can_live_in_the_mean(model):
    alpha, exp = coeffs(model)
    whole = face_verts(model, alpha, exp)
    person = with_identity(model, alpha)
    np.testing.assert_allclose(face_verts(person, jnp.zeros(N_ID), exp), whole, atol=1e-5)
    np.testing.assert_allclose(face_verts(without_identity(person), jnp.zeros(0), exp), whole, atol=1e-5)
    if model.skeleton is not None:  # the joints move with the identity, which a mean alone would forget
        forgotten = dataclasses.replace(person, skeleton=model.skeleton)
        assert np.abs(face_verts(forgotten, jnp.zeros(N_ID), exp) - whole).max() > 1e-3


def test_points_lie_between_their_corners(linear):
    points = SurfacePoints(
        number=jnp.array([7, 3]),
        verts=jnp.array([[0, 1, 2], [10, 11, 12]]),
        bary=jnp.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]),
    )
    mean = np.asarray(linear.mean)
    found = np.asarray(points_at(linear.id_basis, points))
    basis = np.asarray(linear.id_basis)
    np.testing.assert_allclose(
        found[:, 0], 0.2 * basis[:, 0] + 0.3 * basis[:, 1] + 0.5 * basis[:, 2], atol=1e-6
    )
    other = dataclasses.replace(linear, landmarks=points)
    part = landmark_part(other)
    np.testing.assert_allclose(part.mean[1], mean[10], atol=1e-6)
    assert landmark_rows(other, np.array([3, 7])).tolist() == [1, 0]
    with pytest.raises(KeyError):
        landmark_rows(other, np.array([4]))
    with pytest.raises(ValueError, match="does not have the 468 landmarks"):
        landmark_vertices(other)
