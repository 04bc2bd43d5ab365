"""Landmarks beside a prior about the network's answer: between the two, and never below zero."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.camera import clip_camera
from talkjax.face.person import person_model
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.track import gauss_newton as gn
from talkjax.track.guided_fit import EXP_SIGMA, POSE_SIGMA, fit_about
from talkjax.types import Pose
from tests.oracles.drawn_face import drawn_neutral

N = 3


@pytest.fixture(scope="module")
def scene():
    """Problem, true unknowns and landmarks of three frames without any error."""
    model, camera = person_model(drawn_neutral(), n_id=2), clip_camera(640, 640)
    rng = np.random.default_rng(0)
    theta = np.zeros((N, 6 + len(model.exp_names)))
    theta[:, :3] = rng.normal(size=(N, 3)) * 0.15
    theta[:, 3:6] = [0.1, 0.2, 5.0]
    theta[:, 6:] = rng.uniform(0, 0.3, (N, len(model.exp_names)))
    verts = model.mean + jnp.einsum("te,evc->tvc", jnp.asarray(theta[:, 6:]), model.exp_basis)
    pose = Pose(jnp.asarray(theta[:, :3]), jnp.asarray(theta[:, 3:6]))
    px = np.asarray(project(apply_pose(verts, pose), camera))
    landmarks = np.pad(px, ((0, 0), (0, 10), (0, 1)))
    return gn.make_problem(model, camera, free_identity=False), theta, landmarks


def test_a_wrong_answer_is_moved_toward_good_landmarks(scene):
    problem, true, landmarks = scene
    rng = np.random.default_rng(1)
    sigma = np.concatenate([POSE_SIGMA, np.full(true.shape[1] - 6, EXP_SIGMA)])
    said = true + rng.normal(size=true.shape) * sigma
    found = fit_about(problem, said, *gn.observations(landmarks, np.ones(N, bool)))
    assert np.abs(found - true)[:, :3].mean() < 0.95 * np.abs(said - true)[:, :3].mean()
    assert np.abs(found - true)[:, 6:].mean() < np.abs(np.maximum(said, 0) - true)[:, 6:].mean()
    unsigned = ~np.asarray(problem.exp_signed)
    assert (said[:, 6:][:, unsigned] < 0).any() and (found[:, 6:][:, unsigned] >= 0).all()


def test_a_right_answer_is_left_where_landmarks_say_the_same_or_nothing(scene):
    problem, true, landmarks = scene
    observed, scale = gn.observations(landmarks, np.array([True, True, False]))
    away = true.copy()
    away[2, :3] += 0.1
    found = fit_about(problem, away, observed, scale)
    np.testing.assert_allclose(found[:2], true[:2], atol=2e-3)
    np.testing.assert_allclose(found[2], away[2], atol=1e-9)
