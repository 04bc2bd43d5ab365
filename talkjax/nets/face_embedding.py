"""Face recognition network of the ArcFace layout (IResNet, Deng et al. 2019), its batch norms folded.

A frozen feature of who somebody is (reference.md §5.4).

Units (3, 4, 14, 3) make IResNet-50, (3, 13, 30, 3) IResNet-100, the reference's. Weights come from
`assets/face_embedding_weights.py`; nothing here trains it.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.nets.layers import Conv


class Prelu(nn.Module):
    """max(x, 0) + slope min(x, 0), a slope per channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],)).astype(x.dtype)
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


class Affine(nn.Module):
    """What is left of a norm that cannot be folded, since zeros are padded after it."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x * scale.astype(x.dtype) + bias.astype(x.dtype)


class FaceEmbedding(nn.Module):
    """Aligned RGB face `[b h w 3]` in [0, 1], 112 x 112 (`face.alignment.ARCFACE_FIVE`) -> `[b features]`.

    The answer is not normalized; only its direction counts.

    Attributes:
      units: residual units per stage; each stage halves the picture.
      width: channels of the first stage.
      features: length of the answer.
      dtype: type of the arithmetic; the answer is float32.
    """

    units: tuple[int, ...] = (3, 4, 14, 3)
    width: int = 64
    features: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
        """Features of faces; h and w as they were when the weights were trained."""

        def conv(x: Array, features: int, stride: int, name: str) -> Array:
            return Conv(features, stride=stride, dtype=self.dtype, name=name)(x)

        x = 2.0 * image - 1.0
        x = Prelu(name="stem_slope")(conv(x, self.width, 1, "stem"))
        for stage, count in enumerate(self.units, 1):
            features = self.width * 2 ** (stage - 1)
            for unit in range(1, count + 1):
                name, stride = f"stage{stage}_unit{unit}_", 2 if unit == 1 else 1
                y = conv(Affine(name=name + "norm")(x), features, 1, name + "conv1")
                y = conv(Prelu(name=name + "slope")(y), features, stride, name + "conv2")
                if unit == 1:
                    # 1x1 with stride: a matrix product on every other pixel
                    x = nn.Dense(features, dtype=self.dtype, name=name + "shortcut")(x[:, ::2, ::2])
                x = x + y
        x = x.astype(jnp.float32).reshape(x.shape[0], -1)
        return nn.Dense(self.features, name="head")(x)
