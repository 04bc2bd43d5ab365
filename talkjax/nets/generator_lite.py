"""The generator sized for two CPU cores: about 1/17 of the paper network's arithmetic.

Space-to-depth stem -> 64^2 x w -> 32^2 x 2w -> 16^2 x 4w, AdaIN residual blocks there, pixel-shuffle ups
with skips, a 1x1 skip from the input at half size, one 3x3 head at half size shuffled to full size
(networks.md §3). Instead of one mask it weighs several candidate images (composite, retrieved frames) and
its own colour.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.nets.blend import GeneratorOutputs
from talkjax.nets.blend import blend as blend
from talkjax.nets.convs import depth_to_space
from talkjax.nets.layers import HE_INIT, REFERENCE_INIT, Conv, Dense, instance_modulation

_COLOR_BIAS = -2.0
_FIRST_BIAS = 0.5
"""Start from the first candidate (the composite): painting everything anew learns far more slowly."""


class LiteGenerator(nn.Module):
    """Small conditional generator with AdaIN identity conditioning.

    Attributes:
      width: channels at 1/4 size; 32 gives 1.5 M parameters.
      n_blocks: residual blocks at 1/16 size.
      n_candidates: images that the attention chooses between, besides the painted colour.
      code_width: hidden width of the AdaIN code.
      dtype: type of the arithmetic; outputs are float32.
    """

    width: int = 32
    n_blocks: int = 3
    n_candidates: int = 1
    code_width: int = 128
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], code: Float[Array, "b d"], *, train: bool = False
    ) -> GeneratorOutputs:
        """Runs the generator.

        Args:
          x: conditioning images in [-1, 1] and masks in [0, 1], stacked over channels; h, w multiples of 16.
          code: identity or expression vector that drives AdaIN.
          train: accepted so that all generators are called alike; nothing here depends on it.
        """
        del train
        w = self.width
        latent = nn.relu(nn.Dense(self.code_width, dtype=self.dtype, name="code")(code.astype(self.dtype)))
        full = self._features(x, latent, w)
        n_out = 6 + self.n_candidates + 1
        head = Conv(
            4 * n_out,
            kernel_init=nn.initializers.variance_scaling(0.016, "fan_in", "normal"),
            bias_init=self._head_bias,
            dtype=self.dtype,
            name="head",
        )
        out = depth_to_space(head(full), 2).astype(jnp.float32)
        return GeneratorOutputs(
            color=jnp.tanh(out[..., :3]),
            residual=0.5 * jnp.tanh(out[..., 3:6]),
            attention=nn.softmax(out[..., 6:], -1),
        )

    def _features(self, x: Array, latent: Array, w: int) -> Array:
        """Encoder, residual blocks and decoder: `[b h/2 w/2 width/2]`."""

        def conv(x: Array, features: int, stride: int = 1) -> Array:
            return Conv(features, stride=stride, kernel_init=HE_INIT, dtype=self.dtype)(x)

        def linear(x: Array, features: int) -> Array:
            return nn.Dense(features, dtype=self.dtype)(x)

        def modulate(x: Array) -> Array:
            c = x.shape[-1]
            code = nn.Dense(2 * c, kernel_init=REFERENCE_INIT, dtype=self.dtype)(latent)
            return instance_modulation(x, code[:, :c], 1.0 + code[:, c:])

        def act(x: Array) -> Array:
            return nn.leaky_relu(x, 0.1)

        quarter = act(Dense(w, 4, self.dtype)(x))
        quarter = act(modulate(conv(quarter, w)))
        eighth = act(modulate(conv(quarter, 2 * w, 2)))
        y = act(modulate(conv(eighth, 4 * w, 2)))
        for _ in range(self.n_blocks):
            y = y + modulate(conv(act(modulate(conv(y, 4 * w))), 4 * w))
        y = depth_to_space(linear(y, 8 * w), 2)
        y = act(modulate(conv(jnp.concatenate([y, eighth], -1), 2 * w)))
        y = depth_to_space(linear(y, 4 * w), 2)
        y = act(modulate(conv(jnp.concatenate([y, quarter], -1), w)))
        y = depth_to_space(linear(y, 2 * w), 2)
        skip = Dense(w // 2, 2, self.dtype)(x)
        return act(conv(act(y + skip), w // 2))

    def _head_bias(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Zeros but for the attention, which starts on the first candidate."""
        del key
        bias = np.zeros((4, shape[0] // 4))
        bias[:, 6] = _FIRST_BIAS
        bias[:, -1] = _COLOR_BIAS
        return jnp.asarray(bias.reshape(shape), dtype)
