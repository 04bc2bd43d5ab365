"""R-Net: from a face crop to everything that explains it, in one shot (reference.md §2.5).

`ReconstructionNet` is the reference's ResNet-50 v1. `SmallReconstructionNet` (in
`nets/reconstruction_small.py`) has the same signature and a few per cent of the cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.nets import convs, winograd
from talkjax.nets.layers import NORM_EPS
from talkjax.nets.resnet import fold_batch_norm
from talkjax.numerics import by_rows, replicated
from talkjax.types import FaceCoeffs, Pose

N_EULER, N_SH, N_TRANSLATION = 3, 27, 3


class CoeffSizes(NamedTuple):
    """How many identity, expression and texture coefficients a face model has; the reference's by default."""

    id: int = 80
    exp: int = 64
    tex: int = 80


class CoeffHeads(nn.Module):
    """Zero-initialised linear heads: an untrained network answers with the mean face, straight ahead."""

    sizes: CoeffSizes

    @nn.compact
    def __call__(self, features: Float[Array, "b f"]) -> FaceCoeffs:
        """Coefficients in the units of `FaceCoeffs` (sigmas, radians, dm), float32, not clamped."""

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
    """Convolution without bias, then batch norm; or, `folded`, one convolution with bias.

    `winograd` (folded, 3x3, stride 1): the kernel is stored as `nets/winograd.py` wants it.
    """

    features: int
    size: int = 1
    stride: int = 1
    folded: bool = False
    winograd: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w ci"], train: bool = False) -> Float[Array, "b ho wo co"]:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # torchvision's
        taps = (16,) if self.winograd else (self.size, self.size)
        kernel = self.param("kernel", init, (*taps, x.shape[-1], self.features))
        kernel = replicated(kernel.astype(self.dtype))
        x = by_rows(x.astype(self.dtype))
        if self.winograd:
            y = winograd.conv3x3(x, kernel)
        elif self.size == 1:
            # a matrix product on every stride-th pixel: up to twice as fast as a convolution on CPU
            y = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        else:
            y = convs.conv(x, kernel, self.stride, self.size // 2)
        if self.folded:
            return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=NORM_EPS, dtype=self.dtype, name="norm"
        )
        return norm(y)


class ReconstructionNet(nn.Module):
    """ResNet-50 v1 with heads: RGB `[b h w 3]` in [0, 1] -> `FaceCoeffs`.

    23,508,032 parameters, and 2049 for each output (526,593 for 257). The reference's input is 224 x 224; any
    size works. Not normalized: the first layer takes colors as they are. State: `batch_stats`; apply with
    `mutable=["batch_stats"]` when `train`.

    Attributes:
      sizes: of the face model.
      width: channels of the first stage; 64 is ResNet-50.
      blocks: units per stage.
      stride_last: False halves in the first unit of stages 2-4 and pads the pool by 1 on both sides (PyTorch
        weights); True halves in the last unit of stages 1-3, pool padded below and right only (TF-slim's).
      folded: batch norms folded into the convolutions, for inference; see `fold`.
      winograd: folded, and stride-1 3x3 kernels transformed: the fastest form on CPUs.
      dtype: type of the arithmetic; outputs are float32.
    """

    sizes: CoeffSizes = CoeffSizes()
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stride_last: bool = False
    folded: bool = False
    winograd: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool = False) -> FaceCoeffs:
        """Coefficients of every image."""

        def conv(x: Array, features: int, name: str, size: int = 1, stride: int = 1) -> Array:
            folded = self.folded or self.winograd
            fast = self.winograd and size == 3 and stride == 1
            return ConvNorm(features, size, stride, folded, fast, self.dtype, name=name)(x, train)

        x = nn.relu(conv(image, self.width, "stem", 7, 2))
        x = _max_pool(x, before=0 if self.stride_last else 1)
        for stage, count in enumerate(self.blocks):
            inner = self.width * 2**stage
            for unit in range(count):
                name = f"stage{stage + 1}_unit{unit + 1}_"
                stride = self._stride(stage, unit)
                y = nn.relu(conv(x, inner, name + "conv1"))
                y = nn.relu(conv(y, inner, name + "conv2", 3, stride))
                y = conv(y, 4 * inner, name + "conv3")
                if unit == 0:
                    x = conv(x, 4 * inner, name + "shortcut", 1, stride)
                else:
                    x = x[:, ::stride, ::stride]
                x = nn.relu(x + y)
        return CoeffHeads(self.sizes, name="heads")(x.astype(jnp.float32).mean((1, 2)))

    def _stride(self, stage: int, unit: int) -> int:
        if self.stride_last:
            return 2 if stage < len(self.blocks) - 1 and unit == self.blocks[stage] - 1 else 1
        return 2 if stage > 0 and unit == 0 else 1


def _max_pool(x: Float[Array, "b h w c"], before: int) -> Float[Array, "b ho wo c"]:
    """3x3, stride 2, of values that are not negative: zeros pad as well as -inf."""
    return convs.max_pool3(jnp.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0))), (2, 2))


def fold(net: ReconstructionNet, variables: Any, *, winograd_kernels: bool = True) -> tuple[Any, Any]:
    """The same network for inference: no batch norms left (host).

    Args:
      net: with `folded` and `winograd` off.
      variables: its `params` and `batch_stats`.
      winograd_kernels: for CPUs; off for accelerators, whose libraries choose by themselves.

    Returns:
      The network to apply and its variables.
    """
    target = net.clone(folded=True, winograd=winograd_kernels)
    stats = variables["batch_stats"]
    params = {}
    for name, leaf in variables["params"].items():
        if name == "heads":
            params[name] = leaf
            continue
        norm, seen = leaf["norm"], stats[name]["norm"]
        kernel, bias = fold_batch_norm(
            np.asarray(leaf["kernel"]),
            np.asarray(norm["scale"]),
            np.asarray(norm["bias"]),
            np.asarray(seen["mean"]),
            np.asarray(seen["var"]),
        )
        params[name] = {"kernel": kernel, "bias": bias}
    if winograd_kernels:
        shapes = jax.eval_shape(target.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
        for name, leaf in params.items():
            if name != "heads" and len(shapes[name]["kernel"].shape) == 3:
                leaf["kernel"] = winograd.transform_kernel(leaf["kernel"])
    return target, {"params": params}
