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


def masked_mean(values: Float[Array, "*s"], mask: Float[Array, "*s"]) -> Float[Array, ""]:
    """Mean of the values where the mask is set; 0 where it is nowhere set."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def _moments(x: Array, mask: Array) -> tuple[Array, Array]:
    """(deviation from the mean over time, variance) of each sequence and dimension, over the masked
    frames."""
    count = jnp.maximum(mask.sum(1, keepdims=True), 1)
    deviation = jnp.where(mask, x - jnp.where(mask, x, 0.0).sum(1, keepdims=True) / count, 0.0)
    return deviation, (deviation**2).sum(1) / count[:, 0]


_STILL = 1e-2  # variance, of a usual one of 1, below which a sequence has no shape to follow


def one_minus_correlation(
    predicted: Float[Array, "b t d"], target: Float[Array, "b t d"], mask: Float[Array, "b t d"]
) -> Float[Array, ""]:
    """1 - Pearson's r over time, mean of the sequences and dimensions whose target moves (ours).

    Blind to amplitude and offset; its gradient is finite for a still prediction.
    """
    p, p_variance = _moments(predicted, mask)
    t, t_variance = _moments(target, mask)
    product = (p * t).sum(1) / jnp.maximum(mask.sum(1), 1)
    r = product / jnp.sqrt((p_variance + 1e-3) * (t_variance + 1e-6))
    return masked_mean(1 - r, t_variance > _STILL)


def spread_error(
    predicted: Float[Array, "b t d"], target: Float[Array, "b t d"], mask: Float[Array, "b t d"]
) -> Float[Array, ""]:
    """Squared difference of the standard deviations over time: what keeps a prediction from mumbling
    (ours)."""
    _, p_variance = _moments(predicted, mask)
    _, t_variance = _moments(target, mask)
    return masked_mean((jnp.sqrt(p_variance + 1e-4) - jnp.sqrt(t_variance + 1e-4)) ** 2, t_variance > _STILL)


def _temporal(x: Array) -> Array:
    return jnp.mean(jnp.sum(jnp.square(jnp.diff(x, axis=1)), axis=(1, 2)))
