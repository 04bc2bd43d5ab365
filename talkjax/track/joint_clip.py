"""A clip explained by `joint_fit`: what its frames share from some of them, then all frames in time."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.data.painted_texture import with_painted_texture
from talkjax.data.reconstruction_rows import face_measures
from talkjax.data.synthetic_faces import FaceStage
from talkjax.face.points import with_identity
from talkjax.track import gauss_newton as gn
from talkjax.track.clip_fit import ClipFit, fit_of_network
from talkjax.track.crop import stack_cameras
from talkjax.track.joint_fit import (
    MARK_WEIGHT,
    JointFit,
    JointStart,
    Marks,
    Pictures,
    bounded,
    fit_jointly,
    network_prior,
)
from talkjax.track.regressed import Regressed
from talkjax.track.shading import OUTLIER, ShadedSkin, color_error, shaded_skin, shading_at
from talkjax.track.temporal import smooth_track, track_of
from talkjax.types import Camera, FaceModel

MAX_FRAMES = 24
"""So many frames decide what the clip shares."""

_GAP_PRIOR = 4.0  # views of a vertex that count as much as the model's own albedo


class ClipTerm:
    """Pictures and the network's prior as one term of `smooth_track`, with what the clip shares fixed."""

    def __init__(self, pictures: Pictures, shared: np.ndarray, start: np.ndarray) -> None:
        self.pictures, self.shared, self.start = pictures, shared, start

    def rows(self, low: int, high: int) -> ClipTerm:
        return ClipTerm(self.pictures.rows(low, high), self.shared, self.start[low:high])

    def linearize(self, theta: np.ndarray) -> gn.Blocks:
        blocks, size = self.pictures.blocks(self.shared, theta), theta.shape[1]
        cost, gradient, stiff = network_prior(theta - self.start)
        hessian = blocks.hessian[:, :size, :size]
        hessian[:, range(size), range(size)] += stiff
        return gn.Blocks(blocks.cost + cost, blocks.gradient[:, :size] + gradient, hessian)

    def cost(self, theta: np.ndarray) -> np.ndarray:
        return self.pictures.cost(self.shared, theta) + network_prior(theta - self.start)[0]


def skin_of(model: FaceModel) -> ShadedSkin:
    """The front of ICT-FaceKit's head, with painted people's colors where the model has none.

    Raises:
      InputError: another model.
    """
    stage = FaceStage.of(model if model.tex_basis is not None else with_painted_texture(model))
    measures = face_measures(stage)
    return shaded_skin(measures.front, np.asarray(measures.skin) > 0)


def joint_start(said: Regressed, frames: np.ndarray) -> JointStart:
    """The network's answers for some frames, what they share as medians over the clip."""
    coeffs = said.coeffs
    theta = np.concatenate([coeffs.pose.euler, coeffs.pose.translation, coeffs.exp_coeffs], axis=1)
    tex, sh = (np.median(np.asarray(x)[said.valid], axis=0) for x in (coeffs.tex_coeffs, coeffs.sh_coeffs))
    return JointStart(said.identity(), tex, sh, np.asarray(theta, np.float64)[frames])


def fit_clip_jointly(
    said: Regressed, model: FaceModel | None, landmarks: np.ndarray, camera: Camera
) -> ClipFit:
    """Identity, pose and expression of a clip by its pictures.

    Args:
      said: the network's answers. model: the one that it answers in.
      landmarks: [t 478 3] px; they count a little.
      camera: of the clip.

    Raises:
      InputError: another model, or no frame with a face.
    """
    fit = fit_of_network(said, model)
    assert model is not None  # `fit_of_network` has seen to it
    skin, cameras = skin_of(model), stack_cameras(camera, said.squares, said.crops.shape[1])
    used = np.flatnonzero(said.valid)
    chosen = used[np.linspace(0, len(used) - 1, min(len(used), MAX_FRAMES)).round().astype(int)]
    signed = np.asarray(model.exp_signed)
    some = jax.tree.map(lambda x: x[chosen], cameras)
    observed, scale = gn.observations(landmarks[chosen], np.ones(len(chosen), bool))
    marks = Marks(gn.make_problem(model, camera, free_identity=True), observed, scale)
    joint = fit_jointly(skin, joint_start(said, chosen), said.crops[chosen], some, signed, marks)
    start = bounded(joint_start(said, np.arange(len(said.valid))).theta, signed)
    theta = start.copy()
    theta[chosen] = joint.theta
    gap = albedo_gap(skin, joint, said.crops[chosen], some)
    pictures = Pictures.of(skin, said.crops, cameras, gap).look(joint.shared, theta, said.valid)
    alpha = np.zeros(model.id_basis.shape[0], np.float32)
    alpha[: len(joint.id_coeffs)] = joint.id_coeffs
    person = with_identity(model, jnp.asarray(alpha))
    term = ClipTerm(pictures, joint.shared, start)
    track = smooth_track(person, track_of(theta, said.valid), landmarks, camera, term, MARK_WEIGHT)
    exp = bounded(np.concatenate([np.zeros((len(start), gn.POSE_SIZE)), track.exp_coeffs], 1), signed)
    track = dataclasses.replace(track, exp_coeffs=jnp.asarray(exp[:, gn.POSE_SIZE :], jnp.float32))
    return fit._replace(model=person, id_coeffs=alpha, track=track)


def albedo_gap(skin: ShadedSkin, joint: JointFit, crops: np.ndarray, cameras: Camera) -> np.ndarray:
    """[v 3] what the person's skin has beside the model's axes: the mean difference of the frames that show
    a vertex, drawn to none."""
    pictures = Pictures.of(skin, crops, cameras).look(joint.shared, joint.theta)
    above = np.zeros((len(pictures.albedo_gap), 3))
    below = np.full((len(pictures.albedo_gap), 1), _GAP_PRIOR)
    for k, theta in enumerate(np.asarray(joint.theta, np.float32)):
        at = jnp.asarray(joint.shared, jnp.float32)
        error = np.asarray(color_error(skin, at, pictures.albedo_gap, theta, pictures.view(k)), np.float64)
        light = np.asarray(shading_at(skin, at, theta), np.float64)
        trust = pictures.weight[k] / (1 + (error**2).sum(-1) / OUTLIER**2) ** 2
        above += trust[:, None] * light * error
        below = below + trust[:, None] * light**2
    return np.asarray(above / below, np.float32)
