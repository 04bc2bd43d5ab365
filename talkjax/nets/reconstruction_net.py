"""R-Net: from a face crop to everything that explains it, in one shot (reference.md §2.5).

`ReconstructionNet` is the reference's ResNet-50 v1. `SmallReconstructionNet` (in
`nets/reconstruction_small.py`) has the same signature and a few per cent of the cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.nets.layers import NORM_EPS, Conv
from talkjax.types import FaceCoeffs, Pose


class CoeffSizes(NamedTuple):
    """How many identity, expression and texture coefficients a face model has."""

    id: int = 80
    exp: int = 64
    tex: int = 80


N_EULER, N_SH, N_TRANSLATION = 3, 27, 3


class CoeffHeads(nn.Module):
    """Zero-initialised linear heads: an untrained network answers with the mean face, straight ahead."""

    sizes: CoeffSizes

    @nn.compact
    def __call__(self, features: Float[Array, "b f"]) -> FaceCoeffs:
        def head(name: str, size: int) -> Array:
            zeros = nn.initializers.zeros
            return nn.Dense(size, name=name, kernel_init=zeros, bias_init=zeros)(features)

        return FaceCoeffs(
            id_coeffs=head("id", self.sizes.id),
            exp_coeffs=head("exp", self.sizes.exp),
            tex_coeffs=head("tex", self.sizes.tex),
            pose=Pose(euler=head("euler", N_EULER), translation=head("translation", N_TRANSLATION)),
            sh_coeffs=head("sh", N_SH).reshape(*features.shape[:-1], 3, 9),
        )


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm; or, `folded`, one convolution with bias."""

    features: int
    size: int = 1
    stride: int = 1
    folded: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w ci"], train: bool = False) -> Float[Array, "b ho wo co"]:
        y = Conv(
            self.features,
            self.size,
            self.stride,
            self.size // 2,
            use_bias=self.folded,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.folded:
            return y
        return nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=NORM_EPS, dtype=self.dtype, name="norm"
        )(y)


class ReconstructionNet(nn.Module):
    """ResNet-50 v1 with heads: RGB `[b h w 3]` in [0, 1] -> `FaceCoeffs`.

    Apply with `mutable=["batch_stats"]` when `train`. The reference's input is 224 x 224.
    """

    sizes: CoeffSizes = CoeffSizes()
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    layout: str = "torch"
    folded: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool = False) -> FaceCoeffs:
        def conv(x: Array, features: int, size: int, stride: int, name: str) -> Array:
            return ConvNorm(features, size, stride, self.folded, self.dtype, name=name)(x, train)

        x = nn.relu(conv(image, self.width, 7, 2, "stem"))
        first = 1 if self.layout == "torch" else 0
        x = jnp.pad(x, ((0, 0), (first, 1), (first, 1), (0, 0)))
        x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))
        for stage, count in enumerate(self.blocks):
            for unit in range(count):
                if self.layout == "torch":
                    stride = 2 if stage > 0 and unit == 0 else 1
                else:
                    stride = 2 if stage < len(self.blocks) - 1 and unit == count - 1 else 1
                inner, name = self.width * 2**stage, f"stage{stage + 1}_unit{unit + 1}"
                y = nn.relu(conv(x, inner, 1, 1, name + "_conv1"))
                y = nn.relu(conv(y, inner, 3, stride, name + "_conv2"))
                y = conv(y, 4 * inner, 1, 1, name + "_conv3")
                x = x[:, ::stride, ::stride]
                if unit == 0:
                    x = conv(x, 4 * inner, 1, 1, name + "_shortcut")
                x = nn.relu(x + y)
        return CoeffHeads(self.sizes, name="heads")(x.astype(jnp.float32).mean((1, 2)))
