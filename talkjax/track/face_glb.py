"""A tracked clip as one animated glTF file."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from talkjax.config import FPS
from talkjax.face.model import face_verts, vertex_normals
from talkjax.media.glb import Animated, Morph, ViewedFrom, glb_bytes
from talkjax.track.clip_fit import ClipFit
from talkjax.types import SKIN, Camera, FaceModel

METERS = 0.1  # per dm
_ANGLE = 0.3  # radians of a joint for which its displacement is exact; in between it is nearly linear
_NOTHING = 1e-7  # m: a target that moves nothing is left out


def face_normals(model: FaceModel, verts: np.ndarray) -> Float[np.ndarray, "v 3"]:
    """Unit normals of the skin; of all triangles at vertices that no skin touches."""
    faces, region = np.asarray(model.faces), np.asarray(model.face_region)
    skin = np.asarray(vertex_normals(jnp.asarray(verts), faces[region == SKIN]))
    every = np.asarray(vertex_normals(jnp.asarray(verts), faces))
    return np.where((skin**2).sum(1, keepdims=True) > 0.25, skin, every)


def displacements(model: FaceModel) -> Float[np.ndarray, "e v 3"]:
    """What each expression coefficient moves, dm per unit; of a joint's angle, at `_ANGLE`."""
    linear = np.asarray(model.exp_basis)
    if model.skeleton is None:
        return linear
    n_exp = len(linear) + 3 * len(model.skeleton.moving)
    exp = jnp.asarray(_ANGLE * np.eye(n_exp, dtype=np.float32)[len(linear) :])
    nobody = jnp.zeros(model.id_basis.shape[0])
    moved = jax.jit(face_verts)(model, nobody, jnp.concatenate([jnp.zeros((1, n_exp)), exp]))
    return np.concatenate([linear, np.asarray(moved[1:] - moved[:1]) / _ANGLE])


def face_glb(
    fit: ClipFit, camera: Camera, size: tuple[int, int], texture_png: bytes | None, generator: str
) -> bytes:
    """Neutral mesh, expression targets by name, and the clip's motion at 25 frames per second.

    Args:
      size: (width, height) of the clip, px, for the camera that stands where the clip's does.
    """
    model, track = fit.model, fit.track
    n_exp = track.exp_coeffs.shape[-1]
    names = model.exp_names if len(model.exp_names) == n_exp else tuple(f"exp_{k}" for k in range(n_exp))
    moves = METERS * displacements(model)
    kept = [k for k in range(n_exp) if np.abs(moves[k]).max() > _NOTHING]
    neutral = np.asarray(face_verts(model, jnp.zeros(model.id_basis.shape[0]), jnp.zeros(n_exp)))
    exp = np.asarray(track.exp_coeffs)
    # R = Rz Ry Rx: turns about fixed axes, x first
    turned = Rotation.from_euler("xyz", np.asarray(track.pose.euler, np.float64))
    return glb_bytes(
        METERS * neutral,
        face_normals(model, neutral),
        np.asarray(model.uvs),
        np.asarray(model.faces),
        morphs=[Morph(names[k], moves[k]) for k in kept],
        animated=Animated(
            times=np.arange(len(exp)) / FPS,
            weights=exp[:, kept],
            quaternions=turned.as_quat(),
            translations=METERS * np.asarray(track.pose.translation),
        ),
        texture_png=texture_png,
        camera=ViewedFrom(
            distance=METERS * float(camera.distance),
            yfov=2 * math.atan(size[1] / 2 / float(camera.focal)),
            aspect=size[0] / size[1],
        ),
        name=f"face ({model.name})",
        generator=generator,
        extras={"source": "tracked from real footage", "fps": FPS},
    )
