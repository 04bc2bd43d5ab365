"""Small sound-to-face network with a bounded look-ahead: normalised log-mel rows -> one vector per video
frame.

Two strided convolutions turn 100 rows a second into 25 frames a second; residual dilated convolutions follow,
of which only the first ones look ahead. `nets/mapping_stream.py` computes the very same function one frame
at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from talkjax.nets.layers import HE_INIT
from talkjax.numerics import by_rows, replicated

FRONT_SIZE, FRONT_STRIDE, FRONT_LEFT = 6, 2, 2  # both strided convolutions: output i sees 2i - 2 ... 2i + 3
BLOCKS = ((1, 1), (2, 2), (1, 0), (2, 0), (4, 0))
"""(dilation, frames of look-ahead) of each residual block; a kernel of 3 without look-ahead is causal."""
SMALL_INIT = nn.initializers.variance_scaling(0.02, "fan_in", "normal")


class TimeConv(nn.Module):
    """Convolution over axis -2 with zero padding: output i sees `i * stride - left + k * dilation`, k < size.

    `[b n ci]` -> `[b ceil(n / stride) features]`.
    """

    features: int
    size: int
    left: int
    stride: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n ci"]) -> Float[Array, "b m co"]:
        n, channels = x.shape[-2:]
        last = (-(-n // self.stride) - 1) * self.stride
        right = max((self.size - 1) * self.dilation + last + 1 - self.left - n, 0)
        kernel = self.param("kernel", HE_INIT, (self.size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        out = lax.conv_general_dilated(
            by_rows(x.astype(self.dtype)),
            replicated(kernel.astype(self.dtype)),
            (self.stride,),
            [(self.left, right)],
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return out + bias.astype(self.dtype)


class DefaultMappingNet(nn.Module):
    """Trunk `[b 4t 40]` -> `[b t width]` and named linear heads on it.

    Attributes:
      heads: (name, outputs) of each linear head.
      width: channels over frames. front: channels of the first convolution.
      dropout: rate of whole channels dropped (per sequence) in training.
      dtype: type of the arithmetic; outputs are float32.
    """

    heads: Sequence[tuple[str, int]]
    width: int = 96
    front: int = 64
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, rows: Float[Array, "b r 40"], *, train: bool = False
    ) -> tuple[dict[str, Float[Array, "b t o"]], Float[Array, "b t width"]]:
        """(outputs by head, hidden vectors) per frame; with `train`, needs the rng stream `dropout`.

        Args:
          rows: from `audio.running.normalize_rows`, four per frame. Beyond both ends there are zeros.
        """

        def drop(x: Array) -> Array:
            return nn.Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train)(x)

        def front(features: int, name: str) -> TimeConv:
            return TimeConv(features, FRONT_SIZE, FRONT_LEFT, FRONT_STRIDE, dtype=self.dtype, name=name)

        h = drop(nn.gelu(front(self.front, "front_0")(rows)))
        h = drop(nn.gelu(front(self.width, "front_1")(h)))
        for k, (dilation, ahead) in enumerate(BLOCKS):
            conv = TimeConv(self.width, 3, 2 * dilation - ahead, 1, dilation, self.dtype, name=f"block_{k}")
            mix = nn.Dense(self.width, kernel_init=SMALL_INIT, dtype=self.dtype, name=f"mix_{k}")
            h = h + mix(drop(nn.gelu(conv(h))))
        h = h.astype(jnp.float32)
        outputs: dict[str, Any] = {
            name: nn.Dense(size, kernel_init=HE_INIT, name=name)(h) for name, size in self.heads
        }
        return outputs, h
