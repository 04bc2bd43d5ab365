"""Identity, texture and light of a clip, pose and expression of its frames: one fit to the pictures.

From the reconstruction network's answers, which are the prior's mean with the spread that they have on drawn
faces it never saw, Gauss-Newton steps make the shaded model agree with every frame (`shading.py`; analysis by
synthesis, Blanz and Vetter 1999, over several frames as in Garrido et al. 2016). What all frames share and
what is a frame's own meet in a matrix shaped like an arrow: the frames' own blocks are eliminated first.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from talkjax.track import gauss_newton as gn
from talkjax.track.guided_fit import POSE_SIGMA
from talkjax.track.shading import (
    CROP,
    N_LIGHT,
    OUTLIER,
    FrameView,
    ShadedSkin,
    color_blocks,
    color_cost,
    weights_of,
)
from talkjax.types import Camera

STRENGTH = 1.0
"""How many independent measurements the color of one vertex is worth. Their variance is measured on the clip
itself (`Pictures.look`), so that skin which the model's axes cannot paint bends nothing."""

ID_SIGMA, TEX_SIGMA, LIGHT_SIGMA = 0.8, 1.0, 0.3
"""Of the network's answers for a clip (medians over its frames)."""

EXP_SPREAD, EXP_ROUND = 0.06, 0.02
"""Mean absolute error of an expression, and below what difference its prior is round. Squares in its place
made expressions worse than the network's (0.065 against 0.061), where this makes them better (0.053)."""

MARK_WEIGHT = 0.03
"""Of a landmark's squared error in % of the eye distance. On drawn faces, where all landmarks are off alike,
none are better (1.18 %, 1.01 degrees without, 1.33 %, 1.17 degrees with 0.05); on a real face, whose colors
the painted axes know less well, they keep lips and lids in place."""

DIFFERENT_FRAMES = 0.5
"""What the model lacks of a person, it lacks in every frame: of what they share, all frames tell no more than
so many that err independently. 2, 0.5 on 20 drawn people: 1.26, 1.31 %; identity of the development clip at
most 3.6, 2.1 standard deviations (4.3 and more without)."""

LEAST_VARIANCE = 4e-4  # of a color (its three channels together), where a picture is all too good

_ITERATIONS = 6
_LOOK_AGAIN = (2, 4)  # iterations before which visibility is decided anew
_TRIES = 4
_BLUR_PX = 0.6


class JointStart(NamedTuple):
    """Where a fit begins. theta [t 6+e]: pose before the clip's camera, expression."""

    id_coeffs: np.ndarray
    tex_coeffs: np.ndarray
    sh_coeffs: np.ndarray
    theta: np.ndarray


class Marks(NamedTuple):
    """Landmarks of the frames (`gauss_newton.observations`) and the problem they pose, identity free."""

    problem: gn.LandmarkProblem
    observed: np.ndarray
    scale: np.ndarray


class JointFit(NamedTuple):
    """id_coeffs [k], tex_coeffs [x], sh_coeffs [3 9]: of the clip. theta [t 6+e] of its frames.

    color_rms: difference of colors at the start and the end, three channels together, outliers cut.
    """

    id_coeffs: np.ndarray
    tex_coeffs: np.ndarray
    sh_coeffs: np.ndarray
    theta: np.ndarray
    color_rms: tuple[float, float]

    @property
    def shared(self) -> np.ndarray:
        """[s], as `ShadedSkin.split` takes them apart."""
        return np.concatenate([self.id_coeffs, self.tex_coeffs, self.sh_coeffs.ravel()]).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The color term of some frames of a clip: a value, `look` gives the next one.

    crops: head squares of `CROP` pixels; cameras: theirs [t]. albedo_gap: what the person's skin has beside
    the model's axes. weight: how much each vertex counts in each frame. variance: of a color's error (three
    channels together, outliers cut).
    """

    skin: ShadedSkin
    crops: UInt8[np.ndarray, "t s s 3"]
    cameras: Camera
    albedo_gap: Float[np.ndarray, "v 3"]
    weight: Float[np.ndarray, "t v"]
    variance: float = OUTLIER**2

    @classmethod
    def of(
        cls,
        skin: ShadedSkin,
        crops: UInt8[np.ndarray, "t s s 3"],
        cameras: Camera,
        albedo_gap: Float[np.ndarray, "v 3"] | None = None,
    ) -> Pictures:
        """Frames of which nothing counts before the first `look`.

        Raises:
          ValueError: crops of another size.
        """
        if crops.shape[1:] != (CROP, CROP, 3):
            raise ValueError(f"crops have shape {crops.shape}, expected [t {CROP} {CROP} 3]")
        n = skin.counted.shape[0]
        gap = np.zeros((n, 3), np.float32) if albedo_gap is None else albedo_gap
        return cls(skin, crops, cameras, gap, np.zeros((len(crops), n), np.float32))

    def rows(self, low: int, high: int) -> Pictures:
        """Those of frames low .. high - 1."""
        cameras = jax.tree.map(lambda x: x[low:high], self.cameras)
        return dataclasses.replace(
            self, crops=self.crops[low:high], cameras=cameras, weight=self.weight[low:high]
        )

    def look(self, shared: np.ndarray, theta: np.ndarray, used: np.ndarray | None = None) -> Pictures:
        """Which vertices each frame shows from here, none in frames that are not `used` [t], and how far off
        their colors are."""
        weight = np.zeros_like(self.weight)
        for k in range(len(theta)):
            if used is None or used[k]:
                at = np.float32(shared), np.float32(theta[k]), self.view(k).camera
                weight[k] = np.asarray(weights_of(self.skin, *at))
        raw = dataclasses.replace(self, weight=weight, variance=OUTLIER**2)
        share = raw.cost(shared, theta).sum() / STRENGTH / max(float(weight.sum()), 1.0)
        return dataclasses.replace(raw, variance=max(share * OUTLIER**2, LEAST_VARIANCE))

    def blocks(self, shared: np.ndarray, theta: np.ndarray) -> gn.Blocks:
        """Of every frame; unknowns are (theta, shared)."""
        parts = []
        for k in range(len(theta)):  # one by one: a frame's Jacobian is megabytes
            at = np.float32(shared), self.albedo_gap, np.float32(theta[k])
            parts.append(color_blocks(self.skin, *at, self.view(k)))
        stacked = (np.array([np.asarray(p[i]) for p in parts], np.float64) for i in range(3))
        return gn.Blocks(*(STRENGTH / self.variance * values for values in stacked))

    def cost(self, shared: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """[t]."""
        out = np.zeros(len(theta))
        for k in range(len(theta)):
            at = np.float32(shared), self.albedo_gap, np.float32(theta[k])
            out[k] = STRENGTH / self.variance * float(color_cost(self.skin, *at, self.view(k)))
        return out

    def view(self, k: int) -> FrameView:
        """Frame k, its crop slightly blurred: a slope between two pixels then tells of the next one too."""
        crop = cv2.GaussianBlur(self.crops[k].astype(np.float32) / 255, (0, 0), _BLUR_PX)
        return FrameView(crop, jax.tree.map(lambda x: x[k], self.cameras), self.weight[k])


def fit_jointly(
    skin: ShadedSkin,
    start: JointStart,
    crops: UInt8[np.ndarray, "t s s 3"],
    cameras: Camera,
    exp_signed: np.ndarray,
    marks: Marks | None = None,
) -> JointFit:
    """Fits some frames of a clip; their number times about 70 unknowns, so dozens, not thousands.

    Args:
      start: the network's answers.
      crops: head squares of `CROP` pixels. cameras: theirs [t].
      exp_signed: [e] expressions that may be negative.
      marks: landmarks, which count `MARK_WEIGHT` beside the pictures.
    """
    shared = np.concatenate([start.id_coeffs, start.tex_coeffs, start.sh_coeffs.ravel()]).astype(np.float64)
    theta = bounded(np.array(start.theta, np.float64), exp_signed)
    pictures = Pictures.of(skin, crops, cameras)
    first, first_shared = theta, shared
    n_id, n_tex = len(start.id_coeffs), len(start.tex_coeffs)
    sigmas = [(ID_SIGMA, n_id), (TEX_SIGMA, n_tex), (LIGHT_SIGMA, N_LIGHT)]
    stiff_shared = np.concatenate([np.full(n, s) for s, n in sigmas]) ** -2.0
    plain = np.concatenate([np.ones(n_id + n_tex), np.zeros(N_LIGHT)])  # the model's own sigmas
    repeated = max(len(theta) / DIFFERENT_FRAMES, 1.0)
    stiff_shared, plain = repeated * stiff_shared, repeated * plain

    def total(shared: np.ndarray, theta: np.ndarray) -> float:
        prior = ((shared - first_shared) ** 2 * stiff_shared).sum() + (shared**2 * plain).sum()
        prior += network_prior(theta - first)[0].sum()
        if marks is not None:
            prior += MARK_WEIGHT * gn.data_cost(marks.problem, theta, shared[:n_id], *marks[1:]).sum()
        return float(pictures.cost(shared, theta).sum() + prior)

    pictures = pictures.look(shared, theta)
    mu, first_variance = 1e-3, pictures.variance
    for iteration in range(_ITERATIONS):
        if iteration in _LOOK_AGAIN:
            pictures = pictures.look(shared, theta)
        now = total(shared, theta)
        blocks = pictures.blocks(shared, theta)
        size = theta.shape[1]
        hessian, gradient = blocks.hessian, blocks.gradient
        if marks is not None:
            known = theta.shape[1] + n_id
            seen = gn.linearize(marks.problem, theta, shared[:n_id], *marks[1:])
            hessian[:, :known, :known] += MARK_WEIGHT * seen.hessian
            gradient[:, :known] += MARK_WEIGHT * seen.gradient
        _, prior_gradient, stiff = network_prior(theta - first)
        hessian[:, range(size), range(size)] += stiff
        gradient[:, :size] += prior_gradient
        common = hessian[:, size:, size:].sum(0) + np.diag(stiff_shared + plain)
        pull = gradient[:, size:].sum(0) + (shared - first_shared) * stiff_shared + shared * plain
        for _ in range(_TRIES):
            own, together = arrow_step(hessian[:, :size], common, gradient[:, :size], pull, mu)
            trial_shared, trial = shared - together, bounded(theta - own, exp_signed)
            then = total(trial_shared, trial)
            if then < now:
                shared, theta, mu = trial_shared, trial, mu / 5
                break
            mu *= 8
    pictures = pictures.look(shared, theta)
    rms = float(np.sqrt(first_variance)), float(np.sqrt(pictures.variance))
    id_coeffs, tex_coeffs, sh = (np.asarray(x) for x in skin.split(jnp.asarray(shared, jnp.float32)))
    return JointFit(id_coeffs, tex_coeffs, sh, theta, rms)


def network_prior(gap: Float[np.ndarray, "t m"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cost [t], gradient [t m] and Hessian diagonal [t m] of being so far from what the network says of a
    frame; gradient and diagonal are halved, like J'r and J'J of the data.

    Squares for the pose. For expressions about the absolute difference: most are at rest and said to be, few
    are far off, and those may move without a share of each error for all.
    """
    pose, exp = gap[:, : gn.POSE_SIZE], gap[:, gn.POSE_SIZE :]
    stiff = POSE_SIGMA**-2.0
    length = np.sqrt(exp**2 + EXP_ROUND**2)
    cost = (pose**2 * stiff).sum(-1) + (2 / EXP_SPREAD) * (length - EXP_ROUND).sum(-1)
    slope = np.concatenate([np.broadcast_to(stiff, pose.shape), 1 / (EXP_SPREAD * length)], axis=1)
    return cost, slope * gap, slope


def bounded(theta: np.ndarray, exp_signed: np.ndarray) -> np.ndarray:
    """theta [t 6+e] without negative expressions where there are none."""
    exp = theta[:, gn.POSE_SIZE :]
    bounded = np.where(exp_signed, exp, np.maximum(exp, 0.0))
    return np.concatenate([theta[:, : gn.POSE_SIZE], bounded], axis=1)


def arrow_step(
    own_rows: Float[np.ndarray, "t m m+s"],
    common: Float[np.ndarray, "s s"],
    own_gradient: Float[np.ndarray, "t m"],
    common_gradient: Float[np.ndarray, "s"],
    mu: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A damped step of unknowns that frames own [t m], and that they share [s], by elimination of the former.

    Args:
      own_rows: a frame's own block, then how it meets the shared unknowns.
    """
    m = own_rows.shape[1]
    own, meet = own_rows[..., :m], own_rows[..., m:]
    right = np.concatenate([own_gradient[..., None], meet], axis=-1)
    solved = np.linalg.solve(gn.damp(own, mu), right)
    alone, through = solved[..., 0], solved[..., 1:]
    reduced = gn.damp(common, mu) - np.einsum("tms,tmr->sr", meet, through)
    together = np.linalg.solve(reduced, common_gradient - np.einsum("tms,tm->s", meet, alone))
    return alone - np.einsum("tms,s->tm", through, together), together
