"""Clips of people who do not exist and whom nothing was trained on: what reconstructions are judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.data.face_samples import Draws
from talkjax.data.picture_spoil import to_uint8
from talkjax.data.synthetic_faces import FaceScenes, FaceStage, FaceTruth, compose, sample_scenes, scene_truth
from talkjax.face.pose import rotation
from talkjax.numerics import einsum
from talkjax.types import Camera, Pose

SIDE = 640
"""Of the pictures, px: the middle of one of 1280 pixels taken by the usual camera."""
FOCAL = 1400.0
N_CLIPS, N_FRAMES = 30, 10
TRUTH_SEED = 31415
"""Of the key that figures are reported for."""


class TruthClip(NamedTuple):
    """Frames of one person under one light; pose and face are new in every frame, there is no motion.

    frames: [t 640 640 3] uint8. id_coeffs: [k]. exp_coeffs: [t e]. pose: [t], before `camera`. sh_coeffs:
    [3 9]. landmarks: [t l 2] px of the model's landmarks.
    """

    frames: np.ndarray
    id_coeffs: np.ndarray
    exp_coeffs: np.ndarray
    tex_coeffs: np.ndarray
    pose: Pose
    camera: Camera
    sh_coeffs: np.ndarray
    landmarks: np.ndarray


@partial(jax.jit, static_argnames=("stage", "count", "side"))
def _draw(stage: FaceStage, key: jax.Array, count: int, side: int) -> tuple[jax.Array, FaceScenes, FaceTruth]:
    keys = jax.random.split(key, 5)
    scenes = sample_scenes(stage, keys[0], count, side)
    first = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), scenes)
    draws = Draws(keys[1], count, 3)
    depth = draws.uniform(low=6.2, high=8.0)
    middle = jnp.stack([*(0.3 * draws.normal(2)).T, 10.0 - depth], -1)
    # the person's own angles stay: sampled before a camera elsewhere, they are as random as before
    turn = rotation(scenes.pose.euler)
    pose = Pose(scenes.pose.euler, middle - einsum("nij,j->ni", turn, jnp.asarray(stage.head_center)))
    camera = Camera(
        focal=jnp.full(count, FOCAL * side / SIDE),
        center=jnp.full((count, 2), side / 2),
        distance=jnp.full(count, 10.0),
    )
    scenes = dataclasses.replace(first, exp_coeffs=scenes.exp_coeffs, pose=pose, camera=camera)
    picture = compose(stage, scenes, keys[2:], side, False)
    return picture, scenes, scene_truth(stage, scenes, side)


def ground_truth_clips(
    stage: FaceStage, key: jax.Array, n_clips: int = N_CLIPS, n_frames: int = N_FRAMES, side: int = SIDE
) -> Iterator[TruthClip]:
    """Clips that are a pure function of the key, without occluders and camera faults; one at a time."""
    for k in range(n_clips):
        pictures, scenes, truth = _draw(stage, jax.random.fold_in(key, k), n_frames, side)
        one = jax.tree.map(lambda x: x[0], scenes.camera)
        yield TruthClip(
            frames=to_uint8(pictures),
            id_coeffs=np.asarray(scenes.id_coeffs[0]),
            exp_coeffs=np.asarray(scenes.exp_coeffs),
            tex_coeffs=np.asarray(truth.coeffs.tex_coeffs[0]),
            pose=scenes.pose,
            camera=one,
            sh_coeffs=np.asarray(scenes.sh_coeffs[0]),
            landmarks=np.asarray(truth.landmarks),
        )
