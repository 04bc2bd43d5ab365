"""Jacobians against automatic differentiation, priors against differences, padding, bridging."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face import mesh468
from talkjax.track import gauss_newton as gn
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.moving_face import MovingFace, moving_face


@pytest.fixture(scope="module")
def clip() -> MovingFace:
    return moving_face(drawn_neutral(), 5, noise_px=1.0)


def test_blocks_equal_those_of_automatic_differentiation(clip):
    problem = gn.make_problem(clip.model, clip.camera, free_identity=True)
    observed, scale = gn.observations(clip.landmarks, np.ones(5, bool))
    theta = np.c_[clip.pose.euler, clip.pose.translation, clip.exp_coeffs + 0.1]
    alpha = np.random.default_rng(0).normal(size=80)
    blocks = gn.linearize(problem, theta, alpha, observed, scale)

    @jax.jit
    def residual(unknowns):
        return gn._residual(problem, unknowns[:49], unknowns[49:], observed[3], scale[3]).ravel()

    unknowns = jnp.float32(np.r_[theta[3], alpha])
    jacobian = np.asarray(jax.jacfwd(residual)(unknowns), np.float64)
    value = np.asarray(residual(unknowns), np.float64)
    assert blocks.cost[3] == pytest.approx((value**2).sum(), rel=1e-4)
    np.testing.assert_allclose(blocks.gradient[3], jacobian.T @ value, rtol=2e-3, atol=0.5)
    expected = jacobian.T @ jacobian
    np.testing.assert_allclose(blocks.hessian[3], expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(gn.data_cost(problem, theta, alpha, observed, scale), blocks.cost, rtol=1e-5)


def test_residual_is_percent_of_the_eye_distance(clip):
    problem = gn.make_problem(clip.model, clip.camera, free_identity=False)
    observed, scale = gn.observations(clip.landmarks, np.ones(5, bool))
    moved = observed + np.float32([3.0, 0.0])
    theta = np.c_[clip.pose.euler, clip.pose.translation, clip.exp_coeffs]
    exact = gn._residual(problem, jnp.float32(theta[0]), jnp.zeros(0), observed[0], scale[0])
    shifted = gn._residual(problem, jnp.float32(theta[0]), jnp.zeros(0), moved[0], scale[0])
    distance = np.linalg.norm(observed[0, 33] - observed[0, 263])
    weights = gn.landmark_weights()
    np.testing.assert_allclose(np.asarray(exact - shifted)[:, 0] / weights, 300 / distance, rtol=1e-4)
    assert weights[mesh468.LIPS].min() == 1.0 > weights[152]


def test_expression_prior_derivatives(clip):
    rng = np.random.default_rng(1)
    exp = rng.uniform(-2, 2, (6, 4))
    problem = gn.make_problem(clip.model, clip.camera, free_identity=False)
    problem = dataclasses.replace(problem, exp_signed=jnp.array([True, False, True, False]), exp_prior=1.0)
    _, gradient, diagonal = gn.expression_prior(problem, exp, 0.7)
    step = 1e-6
    for column in range(4):
        shift = np.zeros(4)
        shift[column] = step
        up, up_gradient, _ = gn.expression_prior(problem, exp + shift, 0.7)
        down, down_gradient, _ = gn.expression_prior(problem, exp - shift, 0.7)
        np.testing.assert_allclose((up - down) / (2 * step) / 2, gradient[:, column], atol=1e-4)
        slope = (up_gradient - down_gradient)[:, column] / (2 * step)
        np.testing.assert_allclose(slope, diagonal[:, column], rtol=1e-5)
    assert gn.expression_prior(problem, np.full((1, 4), 0.5), 1.0)[0] == pytest.approx(1.0)
    negative = gn.expression_prior(problem, np.full((1, 4), -0.1), 1.0)[0]
    assert negative == pytest.approx(4 * 0.01 + 2 * 9.0)  # only unsigned axes are held above zero


def test_frames_without_data_get_no_weight(clip):
    landmarks = clip.landmarks.copy()
    landmarks[1] = np.nan
    landmarks[2] = 0.0  # all points in one place
    observed, scale = gn.observations(landmarks, np.array([1, 1, 1, 0, 1], bool))
    assert (scale > 0).tolist() == [True, False, False, False, True]
    assert np.isfinite(observed).all()


def test_bridge_is_linear_between_and_constant_outside():
    values = np.array([[0.0, 10.0], [2.0, 30.0]])
    np.testing.assert_allclose(
        gn.bridge(values, np.array([1, 3]), 5), [[0, 10], [0, 10], [1, 20], [2, 30], [2, 30]]
    )
