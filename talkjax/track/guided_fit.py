"""Landmarks and the reconstruction network together: each frame's most likely pose and expression given both.

The network's answer is the prior's mean, with the spread that it has on drawn faces it never saw; landmarks
count as the few independent marks that they are worth. Good where one of the two is off: odd pictures, few
frames, poses at the edge. On a long clip of a real person with clean landmarks `fit_clip` is better.
"""

from __future__ import annotations

import numpy as np

from talkjax.track import gauss_newton as gn

POSE_SIGMA = np.array([0.048, 0.025, 0.020, 0.018, 0.089, 0.40])
"""Of the network's pose: radians, then dm (depth last). Measured, as `EXP_SIGMA`, on 100 drawn people who are
neither those that it learned from nor those that docs/reconstruction.md judges by."""

EXP_SIGMA = 0.147
MARK_SIGMA = 3.0  # % of the eye distance, of one landmark on a drawn face
INDEPENDENT_MARKS = 5.0
"""The 468 marks of a frame are wrong together: a whole mouth or brow is off, or the head's pitch. On 30 of
those people 2 is as good as none, 5 a little worse (1.56 against 1.50 degrees), 25 bad; on real faces, where
landmarks are cleaner, they must be able to correct the network."""

_ITERATIONS = 8


def fit_about(
    problem: gn.LandmarkProblem, theta: np.ndarray, observed: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Moves every frame's unknowns [t 6+e] from the network's answer toward the landmarks.

    Args:
      problem: the person (identity folded in) at the landmarks.
      theta: the network's pose and expression.
      observed, scale: of `gauss_newton.observations`; frames with scale 0 keep the answer.

    Returns:
      theta [t 6+e] float64; expressions that cannot be negative are not.
    """
    share = INDEPENDENT_MARKS / (len(problem.number) * MARK_SIGMA**2)
    stiff = np.concatenate([POSE_SIGMA, np.full(theta.shape[1] - gn.POSE_SIZE, EXP_SIGMA)]) ** -2.0
    start, theta, alpha = np.array(theta, np.float64), np.array(theta, np.float64), np.zeros(0)
    mu = np.full(len(theta), 1e-3)

    def cost(theta: np.ndarray) -> np.ndarray:
        data = gn.data_cost(problem, theta, alpha, observed, scale)
        return share * data + ((theta - start) ** 2 * stiff).sum(-1)

    now = cost(theta)
    for _ in range(_ITERATIONS):
        blocks = gn.linearize(problem, theta, alpha, observed, scale)
        size = theta.shape[1]
        hessian = share * blocks.hessian[:, :size, :size] + np.diag(stiff)
        gradient = share * blocks.gradient[:, :size] + (theta - start) * stiff
        trial = theta - np.linalg.solve(gn.damp(hessian, mu), gradient[..., None])[..., 0]
        then = cost(trial)
        better = then < now
        theta, now = np.where(better[:, None], trial, theta), np.where(better, then, now)
        mu = np.where(better, mu / 5, mu * 8)
    signed = np.asarray(problem.exp_signed)
    exp = theta[:, gn.POSE_SIZE :]
    theta[:, gn.POSE_SIZE :] = np.where(signed, exp, np.maximum(exp, 0.0))
    return theta
