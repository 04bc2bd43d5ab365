"""Gradients of several calls, averaged into one update."""

from __future__ import annotations

import optax


def accumulated(optimizer: optax.GradientTransformation, n: int) -> optax.GradientTransformation:
    """`optimizer`, acting on the mean gradient of every `n` calls; what comes in between changes nothing."""
    if n == 1:
        return optimizer
    return optax.MultiSteps(optimizer, n).gradient_transformation()
