"""The paper's generator: U-Net with AdaIN from an identity vector, attention and color heads (reference.md
§5.1).

259,055,556 parameters at width 64, of which 204.5 M are the AdaIN network. `adain_hidden=512` is the slim
form: the same U-Net behind a two-layer AdaIN network, 59.9 M parameters.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.nets.blend import GeneratorOutputs
from talkjax.nets.blend import blend as blend
from talkjax.nets.layers import REFERENCE_INIT, Conv, instance_modulation


class AdainCode(nn.Module):
    """Identity vector -> shift and scale of every AdaIN layer, one after the other, shift first.

    Attributes:
      channels: of the modulated layers in order.
      hidden: 0 for the reference's two hidden layers as wide as the output; else one layer of that width.
    """

    channels: tuple[int, ...]
    hidden: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, identity: Float[Array, "b d"]) -> list[tuple[Array, Array]]:
        total = 2 * sum(self.channels)
        widths = (self.hidden,) if self.hidden else (total, total)
        h = identity.astype(self.dtype)
        for width in widths:
            h = nn.relu(nn.Dense(width, kernel_init=REFERENCE_INIT, dtype=self.dtype)(h))
        h = nn.Dense(total, kernel_init=REFERENCE_INIT, dtype=self.dtype)(h)
        pairs, start = [], 0
        for c in self.channels:
            pairs.append((h[:, start : start + c], h[:, start + c : start + 2 * c]))
            start += 2 * c
        return pairs


class PaperGenerator(nn.Module):
    """Refines a window of composites into one frame; identity by AdaIN.

    Attributes:
      width: channels of the first layer (`ngf`).
      n_levels: halvings; 8 for 256 x 256 (the innermost map is 1 x 1), fewer for smaller pictures.
      adain_hidden: see `AdainCode`.
      dropout_at_inference: keep the decoder's dropout on without `train`, as the reference's test does.
      dtype: type of the arithmetic; outputs are float32.
    """

    width: int = 64
    n_levels: int = 8
    adain_hidden: int = 0
    dropout_at_inference: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], identity: Float[Array, "b d"], *, train: bool = False
    ) -> GeneratorOutputs:
        """Runs the generator; blend its outputs with the one candidate, the current composite.

        Args:
          x: composites at t-2, t-1, t over channels, [-1, 1]; h, w multiples of 2 ** n_levels.
          identity: identity feature, 512 in the reference.
          train: dropout 0.5 on the three innermost decoder layers; needs the rng stream `dropout`.
        """
        g, n = self.width, self.n_levels
        down = [min(2**i, 8) * g for i in range(n)]
        up = [*down[-2::-1], g]
        code = AdainCode((*down[1:-1], *up), self.adain_hidden, self.dtype)(identity)
        drop = nn.Dropout(0.5, deterministic=not (train or self.dropout_at_inference))

        skips = [Conv(down[0], size=4, stride=2, dtype=self.dtype)(x)]
        for i in range(1, n):
            y = Conv(down[i], size=4, stride=2, dtype=self.dtype)(nn.leaky_relu(skips[-1], 0.2))
            if i < n - 1:
                y = instance_modulation(y, *code.pop(0))
            skips.append(y)
        y = skips.pop()
        for i in range(n):
            y = Conv(up[i], size=4, form="up", dtype=self.dtype)(nn.relu(y))
            y = instance_modulation(y, *code.pop(0))
            if i < n - 1:
                y = drop(y) if i < 3 else y
                y = jnp.concatenate([y, skips.pop()], -1)
        out = Conv(4, size=7, form="head", dtype=self.dtype, name="heads")(nn.relu(y)).astype(jnp.float32)
        keep = nn.sigmoid(out[..., 3:])
        color = jnp.tanh(out[..., :3])
        return GeneratorOutputs(
            color=color,
            residual=jnp.zeros_like(color),
            attention=jnp.concatenate([keep, 1.0 - keep], -1),
        )
