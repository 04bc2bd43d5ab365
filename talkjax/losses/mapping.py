"""Losses of the audio network (reference.md §3.3); the total is

    mse_expression + 0.2 mse_pose + 0.01 smooth_pose + 1e-4 smooth_expression

The means run over everything; the two temporal terms *sum* over time and dimensions and average over the
batch only.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def mse_expression(predicted: Float[Array, "b t e"], target: Float[Array, "b t e"]) -> Float[Array, ""]:
    """Mean squared error of expression coefficients over batch, time and dimensions."""
    return jnp.mean(jnp.square(predicted - target))


def mse_pose(predicted: Float[Array, "b t 6"], target: Float[Array, "b t 6"]) -> Float[Array, ""]:
    """Mean squared error of pose (3 angles in radians, 3 translation in model units)."""
    return jnp.mean(jnp.square(predicted - target))


def smooth_pose(predicted: Float[Array, "b t 6"]) -> Float[Array, ""]:
    """Squared frame-to-frame change of the predicted pose: summed over time and dimensions, mean over
    batch."""
    return _temporal(predicted)


def smooth_expression(predicted: Float[Array, "b t e"]) -> Float[Array, ""]:
    """Squared frame-to-frame change of the predicted expression: summed likewise."""
    return _temporal(predicted)


def velocity(predicted: Float[Array, "b t e"], target: Float[Array, "b t e"]) -> Float[Array, ""]:
    """Mean squared error of frame-to-frame change: follows motion instead of damping it (ours, speech.md)."""
    return jnp.mean(jnp.square(jnp.diff(predicted, axis=1) - jnp.diff(target, axis=1)))


def _temporal(x: Array) -> Array:
    return jnp.mean(jnp.sum(jnp.square(jnp.diff(x, axis=1)), axis=(1, 2)))
