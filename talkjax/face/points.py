"""Points on the surface of a face model, and the small model that consists of nothing but its landmarks."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.face.mesh468 import N_MESH
from talkjax.numerics import einsum
from talkjax.types import FaceModel, SurfacePoints


def vertex_points(number: np.ndarray, verts: np.ndarray) -> SurfacePoints:
    """Landmarks `number` [n] that lie on vertices `verts` [n]."""
    corner = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(number), 1))
    return SurfacePoints(
        number=jnp.asarray(number, jnp.int32),
        verts=jnp.asarray(np.repeat(np.asarray(verts)[:, None], 3, axis=1), jnp.int32),
        bary=jnp.asarray(corner),
    )


def points_at(values: Float[Array, "*b v c"], points: SurfacePoints) -> Float[Array, "*b n c"]:
    """Per-vertex values (positions, displacements, colours) at the points."""
    corners = jnp.take(jnp.asarray(values), points.verts.reshape(-1), axis=-2)
    corners = corners.reshape(*corners.shape[:-2], *points.verts.shape, corners.shape[-1])
    return einsum("...nkc,nk->...nc", corners, points.bary)


def at_vertices(model: FaceModel, verts: np.ndarray) -> FaceModel:
    """The model cut down to some of its vertices [n], in that order; it has no triangles and no landmarks."""
    skeleton = model.skeleton
    if skeleton is not None:
        skeleton = dataclasses.replace(
            skeleton, skin_weights=skeleton.skin_weights[verts], pose_basis=skeleton.pose_basis[:, verts]
        )
    return FaceModel(
        mean=model.mean[verts],
        id_basis=model.id_basis[:, verts],
        exp_basis=model.exp_basis[:, verts],
        exp_signed=model.exp_signed,
        faces=jnp.zeros((0, 3), jnp.int32),
        face_region=jnp.zeros(0, jnp.int32),
        uvs=model.uvs[verts],
        landmarks=vertex_points(np.zeros(0, int), np.zeros(0, int)),
        tex_mean=None if model.tex_mean is None else model.tex_mean[verts],
        tex_basis=None if model.tex_basis is None else model.tex_basis[:, verts],
        skeleton=skeleton,
        exp_names=model.exp_names,
        exp_limit=model.exp_limit,
        name=model.name,
    )


def without_identity(model: FaceModel) -> FaceModel:
    """The model with no identity axes: the person in its mean, whose expressions alone change."""
    k = model.id_basis.shape[0]
    skeleton = model.skeleton
    if skeleton is not None:
        skeleton = dataclasses.replace(skeleton, joint_basis=skeleton.joint_basis[k:])
    return dataclasses.replace(model, id_basis=model.id_basis[:0], skeleton=skeleton)


def with_identity(model: FaceModel, id_coeffs: Float[Array, "k"]) -> FaceModel:
    """The model about another person: `id_coeffs = 0` of the result is `id_coeffs` of the model."""
    alpha = jnp.asarray(id_coeffs)
    skeleton = model.skeleton
    if skeleton is not None:
        moved = skeleton.joint_mean + einsum("k,kjc->jc", alpha, skeleton.joint_basis[: len(alpha)])
        skeleton = dataclasses.replace(skeleton, joint_mean=moved)
    return dataclasses.replace(
        model, mean=model.mean + einsum("k,kvc->vc", alpha, model.id_basis), skeleton=skeleton
    )


class LandmarkPart(NamedTuple):
    """A model's landmarks as a model of their own (numpy); row i is landmark `number[i]` (0-467)."""

    number: np.ndarray  # [n]
    mean: np.ndarray  # [n 3]
    id_basis: np.ndarray  # [k n 3]
    exp_basis: np.ndarray  # [e n 3]


def landmark_part(model: FaceModel) -> LandmarkPart:
    """Mean and linear bases at the landmarks."""
    fields = (model.mean, model.id_basis, model.exp_basis)
    parts = (np.asarray(points_at(values, model.landmarks)) for values in fields)
    return LandmarkPart(np.asarray(model.landmarks.number), *parts)


def landmark_rows(model: FaceModel, numbers: np.ndarray) -> np.ndarray:
    """Rows of `landmark_part` that hold these landmarks.

    Raises:
      KeyError: the model lacks one of them.
    """
    row = {int(number): k for k, number in enumerate(np.asarray(model.landmarks.number))}
    return np.array([row[int(number)] for number in numbers])


def landmarks_are_exact(model: FaceModel) -> bool:
    """Whether the model has all landmarks, each as a vertex: its mesh was made of them."""
    corner = np.asarray(model.landmarks.bary)[:, 0]
    return len(corner) == N_MESH and bool((corner == 1.0).all())


def landmark_vertices(model: FaceModel) -> np.ndarray:
    """Vertex of each of the 468 landmarks, for a model that has them all as vertices (the lifted one).

    Raises:
      ValueError: its landmarks lie inside triangles, or some are missing.
    """
    number, verts = np.asarray(model.landmarks.number), np.asarray(model.landmarks.verts)
    if not landmarks_are_exact(model):
        raise ValueError(f"model {model.name} does not have the {N_MESH} landmarks as vertices")
    return verts[np.argsort(number), 0]
