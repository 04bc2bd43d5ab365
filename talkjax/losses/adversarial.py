"""Adversarial losses on PatchGAN logits (reference.md §5.5: plain binary cross-entropy, no image pool)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float


def bce_logits(logits: Float[Array, "..."], target: float) -> Float[Array, ""]:
    """Mean binary cross-entropy of logits against one target in [0, 1]; finite for any finite logit."""
    return jnp.mean(nn.softplus(logits) - target * logits)


def adversarial_discriminator(
    real_logits: Float[Array, "..."], fake_logits: Float[Array, "..."]
) -> Float[Array, ""]:
    """Half the sum of the losses on real (target 1) and fake (target 0) patches."""
    return 0.5 * (bce_logits(fake_logits, 0.0) + bce_logits(real_logits, 1.0))


def adversarial_generator(fake_logits: Float[Array, "..."]) -> Float[Array, ""]:
    """The generator wants its patches called real."""
    return bce_logits(fake_logits, 1.0)


def least_squares_discriminator(
    real_logits: Float[Array, "..."], fake_logits: Float[Array, "..."]
) -> Float[Array, ""]:
    """The least-squares form of `adversarial_discriminator`."""
    return 0.5 * (jnp.mean(jnp.square(fake_logits)) + jnp.mean(jnp.square(real_logits - 1.0)))


def least_squares_generator(fake_logits: Float[Array, "..."]) -> Float[Array, ""]:
    """The least-squares form of `adversarial_generator`."""
    return jnp.mean(jnp.square(fake_logits - 1.0))
