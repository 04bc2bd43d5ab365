"""The landmark fit of a model with joints: its derivatives, and a clip whose jaw turns."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.camera import clip_camera
from talkjax.face.model import face_verts
from talkjax.face.person import person_model
from talkjax.face.points import points_at
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.track import gauss_newton as gn
from talkjax.track.clip_fit import fit_clip
from talkjax.track.temporal import landmark_error
from talkjax.types import Pose
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.jointed_face import jointed

N = 20


@pytest.fixture(scope="module")
def model():
    return jointed(person_model(drawn_neutral(), n_id=3))


@pytest.fixture(scope="module")
def camera():
    return clip_camera(640, 640)


@pytest.fixture(scope="module")
def clip(model, camera):
    """Landmarks of a known person (id 1, -0.5, 0.3) who opens the jaw, and the angle that it turns by."""
    t = np.linspace(0, 1, N)
    exp = np.zeros((N, len(model.exp_names)), np.float32)
    exp[:, -3] = 0.25 * np.sin(2 * np.pi * t) ** 2
    euler = np.stack([0.1 * t, 0.4 * t - 0.2, 0.05 * t], 1)
    pose = Pose(jnp.asarray(euler, jnp.float32), jnp.tile(jnp.array([0.0, 0.2, 5.0]), (N, 1)))
    verts = face_verts(model, jnp.array([1.0, -0.5, 0.3]), jnp.asarray(exp))
    posed = apply_pose(points_at(verts, model.landmarks), pose)
    px = np.asarray(project(posed, camera))
    depth = -np.asarray(posed)[..., 2:] * 140
    landmarks = np.pad(np.concatenate([px, depth], -1), ((0, 0), (0, 10), (0, 0)))
    return landmarks, exp[:, -3]


@pytest.mark.parametrize("free", [True, False])
def test_derivatives_are_those_of_the_cost(model, camera, clip, free):
    problem = gn.make_problem(model, camera, free_identity=free)
    observed, scale = gn.observations(clip[0][:1], np.ones(1, bool))
    rng = np.random.default_rng(2)
    theta = np.concatenate([[0.1, -0.2, 0.0, 0.05, 0.15, 5.1], rng.uniform(0, 0.3, 9)])[None]
    alpha = rng.normal(size=3 if free else 0) * 0.5
    blocks = gn.linearize(problem, theta, alpha, observed, scale)
    point = np.concatenate([theta[0], alpha])
    for axis in range(len(point)):
        ends = []
        for sign in (-1, 1):
            moved = point.copy()
            moved[axis] += sign * 2e-3
            ends.append(gn.data_cost(problem, moved[None, :15], moved[15:], observed, scale)[0])
        slope = (ends[1] - ends[0]) / 4e-3
        assert blocks.gradient[0, axis] == pytest.approx(slope / 2, rel=0.02, abs=2e-3 * blocks.cost[0]), axis


def test_a_clip_gives_person_and_jaw_back(model, camera, clip):
    landmarks, jaw = clip
    fit = fit_clip(landmarks, np.ones(N, bool), camera, model)
    assert np.nanmean(landmark_error(fit.model, fit.track, landmarks, camera)) < 0.3  # % of the eye distance
    found = np.asarray(fit.track.exp_coeffs)[:, -3]
    assert np.corrcoef(found, jaw)[0, 1] > 0.98
    assert np.abs(found - jaw).mean() < 0.03  # radians
