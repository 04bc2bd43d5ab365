"""A model of many people bent onto one face: its own axes are found first, the rest is smooth."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.face import mesh468
from talkjax.face.identity_modes import carry_modes, gp_identity_modes
from talkjax.face.person import person_model
from talkjax.track.clip_fit import onto_face
from talkjax.track.lift import canonical_frame
from tests.oracles.drawn_face import drawn_neutral

AXES = 5


@pytest.fixture(scope="module")
def model():
    """Five identity axes that are no modes of the prior."""
    base = person_model(canonical_frame(drawn_neutral()), n_id=40)
    mixing = np.random.default_rng(0).normal(size=(AXES, 40)) / 6
    mixed = np.einsum("ak,kvc->avc", mixing, np.asarray(base.id_basis))
    return dataclasses.replace(base, id_basis=jnp.asarray(mixed, jnp.float32))


def elsewhere(verts: np.ndarray) -> np.ndarray:
    return 1.3 * verts @ Rotation.from_euler("xyz", [5, -8, 3], degrees=True).as_matrix().T + [0.2, -0.1, 0.4]


def aligned_error(found: np.ndarray, face: np.ndarray) -> float:
    """Mean distance after both are in the canonical frame, % of the eye distance."""
    return float(np.linalg.norm(canonical_frame(found) - canonical_frame(face), axis=1).mean() / 0.9 * 100)


def test_a_person_of_the_models_axes_is_found(model):
    alpha = np.array([1.0, -0.8, 0.5, 1.5, -1.2])
    face = np.asarray(model.mean) + np.einsum("k,kvc->vc", alpha, np.asarray(model.id_basis))
    person, found = onto_face(model, elsewhere(face))
    assert np.corrcoef(found, alpha)[0, 1] > 0.9 and np.abs(found).max() < 2
    assert aligned_error(np.asarray(person.mean, np.float64), face) < 0.4


def test_what_the_axes_lack_is_bent(model):
    """A longer nose."""
    face = np.asarray(model.mean, np.float64).copy()
    face[:, 2] += 0.06 * np.exp(-((face[:, 0] / 0.25) ** 2) - ((face[:, 1] + 0.3) / 0.2) ** 2)
    before = aligned_error(np.asarray(model.mean, np.float64), face)
    person, found = onto_face(model, elsewhere(face))
    assert before > 0.8 and aligned_error(np.asarray(person.mean, np.float64), face) < 0.3 * before
    assert np.abs(found).max() < 2.0


def test_modes_are_carried_to_vertices_between_and_far_from_the_points():
    points = canonical_frame(drawn_neutral())
    modes = gp_identity_modes(points, 6)
    a, b = mesh468.NOSE_RIDGE[2], mesh468.NOSE_RIDGE[3]
    between = (points[a] + points[b]) / 2
    carried = carry_modes(modes, points, np.stack([points[a], between, np.array([0.0, 30.0, 0.0])]))
    np.testing.assert_allclose(carried[:, 0], modes[:, a], atol=2e-3)
    np.testing.assert_allclose(carried[:, 1], (modes[:, a] + modes[:, b]) / 2, atol=4e-3)
    np.testing.assert_allclose(carried[:, 2], 0.0, atol=1e-6)
