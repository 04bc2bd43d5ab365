"""The small R-Net: plain convolutions and matrix products that two CPU cores run at video rate."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.nets.convs import space_to_depth
from talkjax.nets.layers import HE_INIT, Conv
from talkjax.nets.reconstruction_net import CoeffHeads, CoeffSizes
from talkjax.types import FaceCoeffs


class SmallReconstructionNet(nn.Module):
    """RGB `[b h w 3]` in [0, 1], h = w = 112 (or 96) -> `FaceCoeffs`; no state, `train` changes nothing."""

    sizes: CoeffSizes = CoeffSizes()
    width: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool = False) -> FaceCoeffs:
        del train
        x = space_to_depth(2.0 * image.astype(self.dtype) - 1.0, 2)

        def conv(x: Array, features: int, size: int, stride: int) -> Array:
            return Conv(features, size, stride, size // 2, kernel_init=HE_INIT, dtype=self.dtype)(x)

        for stage, (factor, units) in enumerate(((1, 1), (3, 2), (6, 2))):
            x = nn.relu(conv(x, self.width * factor, 3, 2))
            for _ in range(units):
                y = nn.relu(conv(x, self.width * factor // (1 if stage == 0 else 2), 1, 1))
                y = nn.relu(conv(y, y.shape[-1], 3, 1))
                x = nn.relu(x + 0.3 * conv(y, x.shape[-1], 1, 1))
        x = nn.relu(conv(x, 32, 1, 1)).astype(jnp.float32).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(256, kernel_init=HE_INIT)(x))
        return CoeffHeads(self.sizes, name="heads")(x)
