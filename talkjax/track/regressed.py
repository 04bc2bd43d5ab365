"""A clip's coefficients from the small reconstruction network: no fit, one look at each frame.

The network answers in the axes of ICT-FaceKit's model (`docs/reconstruction_card.md`); its numbers need no
model file, a mesh does.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.assets.correspondence import landmark_template
from talkjax.face.crop_pose import network_camera, repose
from talkjax.nets.reconstruction_net import CoeffSizes
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from talkjax.track.crop import CropTrack, crop_track, cut
from talkjax.track.lift import rigid_pose, usable_frames
from talkjax.train.params_file import load_params
from talkjax.types import Camera, FaceCoeffs, Pose

WEIGHTS = Path(__file__).parents[1] / "data" / "embedded" / "reconstruction_small.npz"
BATCH = 16
LOOKS = ((0, 3), (-3, -2), (3, -2))
"""Shifts right and down, px, of the pictures that the network is asked about; each also in a mirror."""


class Regressed(NamedTuple):
    """What the network says of each frame of a clip (numpy, leading axis t).

    coeffs: of the model `model` with expression axes `exp_names`; the pose is that before the clip's camera.
    valid: frames with landmarks to cut by; others repeat the nearest one.
    crops, squares: what the network saw of each frame [t s s 3] uint8, and where that is.
    """

    coeffs: FaceCoeffs
    valid: np.ndarray
    model: str
    exp_names: tuple[str, ...]
    crops: np.ndarray
    squares: CropTrack

    def identity(self) -> np.ndarray:
        """id_coeffs [k] of the clip: the median over its frames."""
        return np.median(np.asarray(self.coeffs.id_coeffs)[self.valid], axis=0)


@functools.cache
def small_network(path: Path = WEIGHTS) -> tuple[Callable[[Any], FaceCoeffs], dict[str, Any]]:
    """(images [b s s 3] uint8 -> FaceCoeffs, what is known of the network).

    Raises:
      InputError: the file is damaged.
    """
    tree, about = load_params(path)
    variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    net = SmallReconstructionNet(
        CoeffSizes(**about["sizes"]), width=about["width"], units=about.get("units", 1)
    )

    mirror = mirror_axes(tuple(about["exp_names"]))
    head_center = jnp.asarray(about["head_center"], jnp.float32)

    @jax.jit
    def answer(images: jax.Array) -> FaceCoeffs:
        pictures = images.astype(jnp.float32) / 255.0
        looks = jnp.concatenate([shifted(pictures, *look) for look in LOOKS])
        both = net.apply(variables, jnp.concatenate([looks, looks[:, :, ::-1]]))
        return as_one_look(both_ways(cast(FaceCoeffs, both), mirror), head_center, images.shape[1])

    return answer, about


def shifted(pictures: Float[Array, "b s s 3"], right: int, down: int) -> Float[Array, "b s s 3"]:
    """The same seen through a window so many pixels further; the border is repeated."""
    by = max(abs(right), abs(down))
    size = pictures.shape[1]
    padded = jnp.pad(pictures, ((0, 0), (by, by), (by, by), (0, 0)), mode="edge")
    return padded[:, by + down : by + down + size, by + right : by + right + size]


def as_one_look(said: FaceCoeffs, head_center: Float[Array, "3"], side: int) -> FaceCoeffs:
    """What is said of the `LOOKS` at n pictures, one look after the other, as one answer each: the mean, with
    each pose as the camera of the unshifted picture sees it."""
    n_looks = len(LOOKS)
    by_look = jax.tree.map(lambda x: x.reshape(n_looks, -1, *x.shape[1:]), said)
    n = by_look.exp_coeffs.shape[1]
    middle = jnp.full((n_looks, n, 2), side / 2)
    shift = jnp.asarray(LOOKS, jnp.float32)[:, None]
    sides = jnp.full((n_looks, n), float(side))
    seen, straight = network_camera(middle + shift, sides), network_camera(middle, sides)
    by_look = dataclasses.replace(by_look, pose=repose(by_look.pose, head_center, seen, straight))
    return jax.tree.map(lambda x: x.mean(0), by_look)


def mirror_axes(names: tuple[str, ...]) -> np.ndarray:
    """For every expression the one that a mirror makes of it."""

    def other(name: str) -> str:
        for a, b in (("_L", "_R"), ("Left", "Right")):
            for end, new in ((a, b), (b, a)):
                if name.endswith(end) and name[: -len(end)] + new in names:
                    return name[: -len(end)] + new
        return name

    return np.array([names.index(other(name)) for name in names])


def both_ways(said: FaceCoeffs, mirror: np.ndarray) -> FaceCoeffs:
    """What is said of n pictures, and of the same mirrored (the second half of `said`), as one answer each:
    pose and expression are the mean of both, which are wrong in different ways. Identity, color and light are
    those of the first half, their axes have no mirror.
    """
    n = said.exp_coeffs.shape[0] // 2
    straight, turned = (
        jax.tree.map(lambda x, part=part: x[part], said) for part in (slice(n), slice(n, None))
    )
    euler = 0.5 * (straight.pose.euler + turned.pose.euler * jnp.array([1.0, -1.0, -1.0]))
    place = 0.5 * (straight.pose.translation + turned.pose.translation * jnp.array([-1.0, 1.0, 1.0]))
    exp = 0.5 * (straight.exp_coeffs + turned.exp_coeffs[:, mirror])
    return dataclasses.replace(straight, exp_coeffs=exp, pose=Pose(euler, place))


def face_squares(landmarks: np.ndarray, valid: np.ndarray, camera: Camera) -> tuple[CropTrack, np.ndarray]:
    """Head squares by a rigid fit of the landmark template to [t 478 3] px; the frames that have one."""
    size = tuple(round(2 * float(c)) for c in np.asarray(camera.center))
    used = np.flatnonzero(usable_frames(landmarks, (size[0], size[1]), valid))
    seen = np.zeros(len(landmarks), bool)
    seen[used] = True
    if not len(used):
        return CropTrack(np.zeros((len(landmarks), 2), np.float32), np.ones(len(landmarks), np.float32)), seen
    squares = crop_track(rigid_pose(landmarks[used], landmark_template(), camera), camera)
    nearest = np.abs(np.arange(len(landmarks))[:, None] - used).argmin(1)
    return CropTrack(squares.center[nearest], squares.side[nearest]), seen


def regress_clip(
    landmarks: np.ndarray, valid: np.ndarray, camera: Camera, frames: Iterable[np.ndarray]
) -> Regressed:
    """Coefficients of every frame.

    Args:
      landmarks: [t 478 3] px, valid: [t] bool, from `track_landmarks`: they say where the face is.
      camera: of the clip.
      frames: t pictures [h w 3] uint8 RGB.
    """
    answer, about = small_network()
    squares, seen = face_squares(landmarks, valid, camera)
    crops = np.stack(
        [
            cut(frame, squares.center[k], float(squares.side[k]), about["side"])
            for k, frame in enumerate(frames)
        ]
    )
    parts = []
    for i in range(0, len(crops), BATCH):
        part = crops[i : i + BATCH]
        rest = np.repeat(part[-1:], BATCH - len(part), 0)
        parts.append(jax.device_get(answer(np.concatenate([part, rest]))))
    said: FaceCoeffs = jax.tree.map(lambda *x: np.concatenate(x)[: len(crops)], *parts)
    network = network_camera(jnp.asarray(squares.center), jnp.asarray(squares.side))
    whole = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(crops), *x.shape)), camera)
    pose = repose(said.pose, jnp.asarray(about["head_center"], jnp.float32), network, whole)
    said = dataclasses.replace(said, pose=jax.device_get(pose))
    return Regressed(said, seen, about["model"], tuple(about["exp_names"]), crops, squares)
