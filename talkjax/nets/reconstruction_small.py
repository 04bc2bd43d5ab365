"""The small R-Net: plain convolutions that two CPU cores run at video rate and train in half an hour.

No depthwise convolutions, which XLA runs at a twentieth of the speed of plain ones on CPU, and no
normalisation of activations, which costs as much as the convolutions there and ties the rows of a batch
together. Kernels are standardized instead (Qiao et al. 2019), scaled so that variance stays (Brock et al.
2021, eq. 1-3): any batch size, the same numbers in training and after it.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from talkjax.nets import convs
from talkjax.nets.convs import space_to_depth
from talkjax.nets.layers import HE_INIT
from talkjax.nets.reconstruction_net import CoeffHeads, CoeffSizes
from talkjax.numerics import by_rows, replicated
from talkjax.types import FaceCoeffs

SMALL_SIZE = 112
"""Side of the images, pixels; the flattened head fixes the size that a network was made with."""

_RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))
"""Keeps the variance of relu(x) for normal x."""
_BRANCH = 0.3
"""Share of a residual branch at the start."""
_STRIDE = 16


class StandardConv(nn.Module):
    """Convolution whose kernels have mean 0 and variance 1 / fan-in, times a learned gain per output."""

    features: int
    size: int = 3
    stride: int = 1
    gain: float = _RELU_GAIN
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w ci"]) -> Float[Array, "b ho wo co"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        gain = self.param("gain", nn.initializers.constant(self.gain), (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel - kernel.mean((0, 1, 2))
        fan_in = math.prod(shape[:3])
        kernel = kernel * (gain * lax.rsqrt(fan_in * jnp.square(kernel).mean((0, 1, 2)) + 1e-4))
        kernel = replicated(kernel.astype(self.dtype))
        return convs.conv(by_rows(x), kernel, self.stride, self.size // 2) + bias.astype(self.dtype)


def small_trunk(
    image: Float[Array, "b h w 3"], width: int, units: int, features: int, dtype: Any
) -> Float[Array, "b y x f"]:
    """The convolutions, at a 16th of the resolution; called inside a module, which gets their parameters.

    Args:
      width: channels of the first stage.
      units: residual units of the first stage; the second and the third have one more.
      features: channels of the answer.
    """

    def conv(x: Array, features: int, size: int, stride: int = 1, gain: float = _RELU_GAIN) -> Array:
        return StandardConv(features, size, stride, gain, dtype)(x)

    # halved by folding pixels into channels: 12 instead of 3 of them keep the first convolution busy
    x = space_to_depth(4.0 * image.astype(dtype) - 2.0, 2)
    # channels, and channels inside a unit, at 1/4, 1/8, 1/16 of the resolution
    stages = ((1, 1), (3, 1.5), (6, 3))
    for (factor, inner), count in zip(stages, (units, units + 1, units + 1), strict=True):
        outer = round(width * factor)
        x = nn.relu(conv(x, outer, 3, 2))
        for _ in range(count):
            y = x if inner == factor else nn.relu(conv(x, round(width * inner), 1))
            y = nn.relu(conv(y, round(width * inner), 3))
            x = nn.relu(x + conv(y, outer, 1, gain=_BRANCH))
    return nn.relu(conv(x, features, 1))


class SmallReconstructionNet(nn.Module):
    """RGB `[b h w 3]` in [0, 1], h = w = 112 (any multiple of 16) -> `FaceCoeffs`.

    No state: `train` changes nothing. About a million parameters; not normalized input is fine.

    Attributes:
      sizes: of the face model.
      width: channels of the first stage, at a quarter of the resolution.
      units: residual units of the first stage; the second and the third have one more.
      dtype: type of the arithmetic; outputs are float32.
    """

    sizes: CoeffSizes = CoeffSizes()
    width: int = 32
    units: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool = False) -> FaceCoeffs:
        """Coefficients of every image.

        Raises:
          ValueError: a side is no multiple of 16.
        """
        del train
        if image.shape[1] % _STRIDE or image.shape[2] % _STRIDE:
            raise ValueError(f"sides must be multiples of {_STRIDE}, got {image.shape[1:3]}")

        x = small_trunk(image, self.width, self.units, self.width, self.dtype)
        # places matter as much as what is there: pose is read off them, so nothing is averaged over the image
        x = x.astype(jnp.float32).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(8 * self.width, kernel_init=HE_INIT, name="gather")(x))
        return CoeffHeads(self.sizes, name="heads")(x)
