"""70x70 PatchGAN, conditional on the generator's input (reference.md §5.2). Used in training only."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.nets.layers import BatchStatNorm, Conv, normal_around_one


class PatchDiscriminator(nn.Module):
    """Says for every 70x70 patch whether it is real: `[b h w c]` -> logits; 256 x 256 gives 30 x 30.

    2,774,849 parameters with `width` 64 and 12 input channels. The norm uses the statistics of the batch, as
    the reference's does in training, so real and fake images should be given in separate calls.

    Attributes:
      width: channels of the first layer (`ndf`).
      n_layers: stride-2 layers; 3 gives a 70 x 70 field.
      dtype: type of the arithmetic; logits are float32.
    """

    width: int = 64
    n_layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo 1"]:
        """Logits per patch.

        Args:
          x: condition and picture stacked over channels, [-1, 1]; h and w multiples of 2 ** n_layers.
        """

        def act(x: Array) -> Array:
            return nn.leaky_relu(x, 0.2)

        y = act(Conv(self.width, size=4, stride=2, dtype=self.dtype)(x))
        for i in range(1, self.n_layers + 1):
            features = self.width * min(2**i, 8)
            stride = 2 if i < self.n_layers else 1
            y = Conv(features, size=4, stride=stride, use_bias=False, dtype=self.dtype)(y)
            y = act(BatchStatNorm(normal_around_one())(y))
        return Conv(1, size=4, form="few", dtype=self.dtype)(y).astype(jnp.float32)
