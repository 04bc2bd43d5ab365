"""ResNet-18 trunk with its batch norms folded into the convolutions: a frozen picture feature (reference.md
§5.3)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.nets.convs import max_pool3
from talkjax.nets.layers import HE_INIT, Conv

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Channel statistics, for RGB in [0, 1], that trunks trained on ImageNet expect."""


class ResNet18(nn.Module):
    """RGB image -> 512 features after global average pooling; 11,176,512 - 4,800 = 11,171,712 folded
    parameters.

    Attributes:
      width: channels of the first stage.
      dtype: type of the arithmetic; the feature is float32.
    """

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
        """Features of images in [0, 1]."""

        def conv(x: Array, features: int, size: int, stride: int) -> Array:
            return Conv(
                features,
                size=size,
                stride=stride,
                padding=size // 2,
                kernel_init=HE_INIT,
                dtype=self.dtype,
            )(x)

        x = (image - jnp.asarray(IMAGE_MEAN)) / jnp.asarray(IMAGE_STD)
        x = nn.relu(conv(x, self.width, 7, 2))
        # nothing is below 0, so zeros pad as well as -inf; and jax2onnx forgets the pool's own padding
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = max_pool3(x, (2, 2))
        for stage in range(4):
            features = self.width * 2**stage
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(conv(x, features, 3, stride))
                y = conv(y, features, 3, 1)
                if x.shape[-1] != features:
                    # 1x1 with stride: a matrix product on every other pixel, twice as fast as a convolution
                    x = nn.Dense(features, dtype=self.dtype)(x[:, ::stride, ::stride])
                x = nn.relu(x + y)
        return x.astype(jnp.float32).mean((1, 2))


def fold_batch_norm(
    kernel: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel `[kh kw ci co]` and bias `[co]` of a convolution that includes the frozen batch norm after
    it."""
    gain = scale / np.sqrt(var + eps)
    return kernel * gain, bias - mean * gain
