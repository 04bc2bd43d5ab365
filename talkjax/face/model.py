"""Vertices and normals of a morphable face."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from talkjax.face.skeleton import turn_joints
from talkjax.numerics import einsum, normalize
from talkjax.types import FaceModel


def face_verts(
    model: FaceModel, id_coeffs: Float[Array, "*b k"], exp_coeffs: Float[Array, "*b e"]
) -> Float[Array, "*b v 3"]:
    """Model-space vertices in decimetres: mean + id_basis . id_coeffs + exp_basis . exp_coeffs.

    Batch axes of the two coefficient arrays broadcast, so one identity can go with many frames. A model
    with a skeleton is then turned at its joints.
    """
    identity = model.mean + einsum("...k,kvc->...vc", id_coeffs, model.id_basis)
    n_linear = model.exp_basis.shape[0]
    shape = identity + einsum("...e,evc->...vc", exp_coeffs[..., :n_linear], model.exp_basis)
    if model.skeleton is None:
        return shape
    return turn_joints(model.skeleton, shape, id_coeffs, exp_coeffs)


def vertex_normals(
    verts: Float[Array, "*b v 3"], faces: Int[Array, "f 3"] | np.ndarray
) -> Float[Array, "*b v 3"]:
    """Unit vertex normals, each the sum of its triangles' normals weighted by area.

    Reference.md §2.2: face normal = (v1 - v2) x (v2 - v3), not normalised before the sum. Counter-clockwise
    triangles (seen from outside) give outward normals; a vertex without area gets the zero vector.
    """
    v1, v2, v3 = (verts[..., faces[:, i], :] for i in range(3))
    face_normals = jnp.cross(v1 - v2, v2 - v3)
    sums = jnp.zeros_like(verts)
    for corner in range(3):
        sums = sums.at[..., faces[:, corner], :].add(face_normals)
    return normalize(sums)
