"""Spatial feature -> memory key: the only trained part of the memory network (reference.md §5.3)."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from talkjax import numerics
from talkjax.nets.layers import REFERENCE_INIT


class KeyEncoder(nn.Module):
    """One linear layer, then unit length. The feature is frozen: a picture's (`ResNet18`) or coefficients."""

    features: int = 512

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b dk"]:
        return numerics.normalize(nn.Dense(self.features, kernel_init=REFERENCE_INIT)(x))
