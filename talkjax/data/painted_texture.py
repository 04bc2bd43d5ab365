"""A texture for a model that has none: the main ways in which painted people differ."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.data.face_samples import sample_paint
from talkjax.data.head_regions import skin_weight
from talkjax.data.synthetic_faces import FaceStage, albedo
from talkjax.types import FaceModel

N_AXES, N_PEOPLE, _CHUNK = 16, 384, 64


def with_painted_texture(model: FaceModel, n_axes: int = N_AXES) -> FaceModel:
    """The model with `tex_mean` and `tex_basis`: mean and main components of the skins of painted people.

    A coefficient of 1 is one standard deviation. Only the front of the face counts (`skin_weight`); hair,
    mouth and eyes have the mean and no axes. Deterministic.

    Raises:
      InputError: the model does not have ICT-FaceKit's vertices.
    """
    stage = FaceStage.of(model)
    paint = jax.jit(lambda key: albedo(stage, sample_paint(key, _CHUNK))[0])
    people = np.concatenate(
        [np.asarray(paint(jax.random.fold_in(jax.random.key(468), k))) for k in range(N_PEOPLE // _CHUNK)]
    ).astype(np.float64)
    skin = skin_weight(stage.regions) > 0
    mean = people.mean(0)
    centered = (people - mean)[:, skin].reshape(len(people), -1)
    values, vectors = np.linalg.eigh(centered @ centered.T / len(people))
    order = np.argsort(values)[::-1][:n_axes]
    # principal components times their standard deviations; the sign makes the largest entry positive
    axes = vectors[:, order].T @ centered / np.sqrt(len(people))
    axes *= np.sign(axes[np.arange(n_axes), np.abs(axes).argmax(1)])[:, None]
    n_verts, verts = model.mean.shape[0], stage.regions.verts
    tex_mean = np.full((n_verts, 3), 0.5, np.float32)
    tex_mean[verts] = mean
    tex_basis = np.zeros((n_axes, n_verts, 3), np.float32)
    tex_basis[:, verts[skin]] = axes.reshape(n_axes, -1, 3)
    return dataclasses.replace(model, tex_mean=jnp.asarray(tex_mean), tex_basis=jnp.asarray(tex_basis))
