"""A face with joints made from a linear one: a neck above which everything turns, and a jaw."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from talkjax.types import FaceModel, Skeleton


def jointed(model: FaceModel, n_exp: int = 6) -> FaceModel:
    """The first `n_exp` expression axes (without `jawOpen`), then three angles of the jaw."""
    mean = np.asarray(model.mean, np.float64)
    rng = np.random.default_rng(1)
    exp_basis = np.asarray(model.exp_basis)[1 : 1 + n_exp]
    lower = np.clip((-0.55 - mean[:, 1]) / 0.3, 0, 1)  # how far below the mouth
    skin = np.stack([1 - lower, lower], 1)
    places = np.stack([rng.dirichlet(np.ones(len(mean))) for _ in range(2)])  # joints are means of vertices
    axes = np.concatenate([np.asarray(model.id_basis), exp_basis])
    skeleton = Skeleton(
        joint_mean=jnp.asarray(places @ mean + [0, 0, -0.8], jnp.float32),
        joint_basis=jnp.asarray(np.einsum("jv,kvc->kjc", places, axes) * 20, jnp.float32),
        skin_weights=jnp.asarray(skin, jnp.float32),
        pose_basis=jnp.asarray(rng.normal(size=(9, len(mean), 3)) * 0.01, jnp.float32),
        parents=(-1, 0),
        moving=(1,),
    )
    names = (*model.exp_names[1 : 1 + n_exp], "jaw_x", "jaw_y", "jaw_z")
    signed = np.concatenate([np.asarray(model.exp_signed)[1 : 1 + n_exp], np.ones(3, bool)])
    return dataclasses.replace(
        model,
        exp_basis=jnp.asarray(exp_basis),
        exp_signed=jnp.asarray(signed),
        skeleton=skeleton,
        exp_names=names,
        name="jointed",
    )
