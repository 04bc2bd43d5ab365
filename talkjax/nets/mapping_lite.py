"""Small audio-to-coefficients network for fine-tuning on a short clip with two CPU cores.

Per frame, two strided convolutions over the hops of its log-mel window; over frames, residual dilated
convolutions; and beside them a linear path from the same window. The network's own output starts at zero, so
after `set_linear_path` it is exactly a given ridge regression, which is a strong start on 300 frames
(speech.md), and training adds only what that cannot say. All convolutions are matrix products over shifted
copies: their gradients stay fast inside `lax.scan` on CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from talkjax.nets.layers import HE_INIT

_LINEAR_PATH = "linear_path"
_OUT = "out"


class ShiftConv(nn.Module):
    """1-D convolution over axis -2 as one matrix product over shifted copies; "same" zero padding.

    Any leading batch: `[*b n ci]` -> `[*b ceil(n / stride) features]`.
    """

    features: int
    size: int
    stride: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b n ci"]) -> Float[Array, "*b m co"]:
        n = x.shape[-2]
        n_out = -(-n // self.stride)
        span = (self.size - 1) * self.dilation
        total = max((n_out - 1) * self.stride + span + 1 - n, 0)
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(total // 2, total - total // 2), (0, 0)])
        last = (n_out - 1) * self.stride + 1
        parts = [
            x[..., i * self.dilation : i * self.dilation + last : self.stride, :] for i in range(self.size)
        ]
        return nn.Dense(self.features, kernel_init=HE_INIT, dtype=self.dtype)(jnp.concatenate(parts, -1))


class LiteMappingNet(nn.Module):
    """Log-mel windows -> `out_dim` coefficients per frame, any number of frames.

    Attributes:
      out_dim: outputs per frame.
      width: channels over frames; 96 with a 28 x 40 window and 70 outputs gives 0.36 M parameters.
      dilations: one residual block each, in frames; (1, 2, 1, 2) sees 6 frames to either side.
      dropout: rate of whole channels dropped (per sequence) in training.
      dtype: type of the arithmetic; outputs are float32.
    """

    out_dim: int
    width: int = 96
    dilations: Sequence[int] = (1, 2, 1, 2)
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, windows: Float[Array, "b t rows bands"], *, train: bool = False
    ) -> Float[Array, "b t out_dim"]:
        """Predicts coefficients; with `train`, needs the rng stream `dropout`.

        Args:
          windows: log-mel rows around each frame (100 Hz), normalized per band by the caller.
          train: drops channels.
        """
        flat = windows.reshape(*windows.shape[:-2], -1)
        linear = nn.Dense(self.out_dim, kernel_init=nn.initializers.zeros, name=_LINEAR_PATH)(flat)

        def drop(x: Array) -> Array:
            over_time = tuple(range(1, x.ndim - 1))
            return nn.Dropout(self.dropout, broadcast_dims=over_time, deterministic=not train)(x)

        h = windows.astype(self.dtype)
        h = drop(nn.gelu(ShiftConv(2 * self.width // 3, 6, 2, dtype=self.dtype)(h)))
        h = drop(nn.gelu(ShiftConv(self.width, 6, 2, dtype=self.dtype)(h)))
        h = h.reshape(*windows.shape[:-2], -1)
        h = nn.gelu(nn.Dense(self.width, kernel_init=HE_INIT, dtype=self.dtype)(h))
        for dilation in self.dilations:
            y = drop(nn.gelu(ShiftConv(self.width, 3, 1, dilation, dtype=self.dtype)(h)))
            small = nn.initializers.variance_scaling(0.02, "fan_in", "normal")
            h = h + nn.Dense(self.width, kernel_init=small, dtype=self.dtype)(y)
        out = nn.Dense(self.out_dim, kernel_init=nn.initializers.zeros, dtype=self.dtype, name=_OUT)(h)
        return linear + out.astype(jnp.float32)


def set_linear_path(
    variables: Any, weights: Float[Array, "rows bands out_dim"], bias: Float[Array, "out_dim"]
) -> dict[str, Any]:
    """Variables whose linear path is a given regression: output = sum(window * weights) + bias.

    Freshly initialised variables then predict exactly that, since the network's own output starts at zero.

    Raises:
      ValueError: when the shapes are not those of the network.
    """
    if isinstance(variables, FrozenDict):
        variables = variables.unfreeze()
    params = dict(variables["params"])
    old = params[_LINEAR_PATH]
    kernel = jnp.asarray(weights, jnp.float32).reshape(-1, weights.shape[-1])
    bias = jnp.asarray(bias, jnp.float32)
    if kernel.shape != old["kernel"].shape or bias.shape != old["bias"].shape:
        got, need = (kernel.shape, bias.shape), (old["kernel"].shape, old["bias"].shape)
        raise ValueError(f"linear path expects kernel and bias {need}, got {got}")
    params[_LINEAR_PATH] = {"kernel": kernel, "bias": bias}
    return {**variables, "params": params}
