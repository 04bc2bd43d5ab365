"""Linen layers shared by the image networks: convolutions of `nets/convs.py` with parameters, and norms.

Parameters are float32; `dtype` is the type of the arithmetic (float32 on CPU, where bfloat16 gains nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from talkjax.nets import convs
from talkjax.numerics import by_rows, replicated

Initializer = nn.initializers.Initializer
NORM_EPS = 1e-5

REFERENCE_INIT: Initializer = nn.initializers.normal(0.02)
"""N(0, 0.02) of all convolutions and linear layers (reference.md §3.1, §5.1)."""
HE_INIT: Initializer = nn.initializers.variance_scaling(1.6, "fan_in", "normal")
"""Keeps the variance through leaky ReLUs; the small networks learn quickly from it."""


class Conv(nn.Module):
    """Convolution with zero padding; `form` names the fast way of `nets/convs.py` that fits the place.

    Forms: `plain`, `up` (transposed 4x4 stride 2 padding 1, whatever `size`, `stride` say), `head` (odd,
    size-keeping, few output channels), `few` (one or two output channels at few pixels, stride 1).
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    use_bias: bool = True
    form: str = "plain"
    kernel_init: Initializer = REFERENCE_INIT
    bias_init: Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w ci"]) -> Float[Array, "b ho wo co"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = replicated(self.param("kernel", self.kernel_init, shape).astype(self.dtype))
        x = by_rows(x.astype(self.dtype))
        if self.form == "plain":
            y = convs.conv(x, kernel, self.stride, self.padding)
        elif self.form == "up":
            y = convs.conv_up(x, kernel)
        elif self.form == "head":
            y = convs.conv_head(x, kernel)
        elif self.form == "few":
            y = convs.conv_few_outputs(x, kernel, self.padding)
        else:
            raise ValueError(f"unknown convolution form {self.form!r}")
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return y


class Dense(nn.Module):
    """One linear layer for all blocks of `block` x `block` pixels: `nn.Dense` after `space_to_depth`.

    Called like Flax's own because Flax names parameters after the class: weights fit either.
    """

    features: int
    block: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w ci"]) -> Float[Array, "b h/block w/block co"]:
        shape = (self.block**2 * x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel, x = replicated(kernel.astype(self.dtype)), by_rows(x.astype(self.dtype))
        y = convs.linear_blocks(x, kernel, self.block)
        return y + bias.astype(self.dtype)


def moments(
    x: Float[Array, "..."], axes: Sequence[int], keepdims: bool = False
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mean and biased variance over `axes` in float32, in one pass: E[x^2] - E[x]^2, clamped at zero.

    One pass because its gradient is 7 times faster on CPU than that of E[(x - mean)^2].
    """
    x = x.astype(jnp.float32)
    mean = x.mean(axes, keepdims=keepdims)
    variance = jnp.square(x).mean(axes, keepdims=keepdims) - jnp.square(mean)
    return mean, jnp.maximum(variance, 0.0)


def instance_modulation(
    x: Float[Array, "b h w c"], shift: Float[Array, "b c"], scale: Float[Array, "b c"]
) -> Float[Array, "b h w c"]:
    """AdaIN: instance norm over h, w, then `scale` and `shift` per sample and channel, taken raw (no 1 +)."""
    mean, variance = moments(x, (1, 2), keepdims=True)
    gain = lax.rsqrt(variance + NORM_EPS) * scale[:, None, None].astype(jnp.float32)
    offset = shift[:, None, None].astype(jnp.float32) - mean * gain
    return x * gain.astype(x.dtype) + offset.astype(x.dtype)


class BatchStatNorm(nn.Module):
    """Batch norm that always uses the statistics of the batch at hand; keeps no running ones."""

    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", self.scale_init, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        mean, variance = moments(x, (0, 1, 2))
        gain = lax.rsqrt(variance + NORM_EPS) * scale
        return x * gain.astype(x.dtype) + (bias - mean * gain).astype(x.dtype)


def normal_around_one(stddev: float = 0.02) -> Initializer:
    """N(1, stddev): the reference's batch-norm scale (reference.md §3.1)."""
    normal = nn.initializers.normal(stddev)

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        return 1.0 + normal(key, tuple(shape), dtype)

    return init
