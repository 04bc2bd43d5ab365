"""A ResNet-18 in torchvision's layout -> the folded trunk `nets.ResNet18`.

Names: `conv1`, `bn1`, `layer1.0.conv1` ... `layer4.1.bn2`, `layer2.0.downsample.0`; or the numbers that a
`Sequential` of the same children gives them (`0`, `1`, `4` to `7`). The classifier is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.named_tensors import Tensors, hwio, state_dict
from talkjax.assets.safetensors_file import read_tensors_of
from talkjax.errors import InputError

NORM_EPS = 1e-5
_STAGES, _BLOCKS = 4, 2


def folded_norm(source: Tensors, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """(gain, offset) [c] of a trained batch norm with running statistics."""
    weight, bias, mean, var = (
        source.take(f"{name}.{part}", (channels,))
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    if (var < 0).any():
        raise source.refuse(f"{name}.running_var is negative")
    gain = weight / np.sqrt(var + NORM_EPS)
    return gain, bias - mean * gain


def take_trunk(source: Tensors, prefix: str = "") -> dict[str, Any]:
    """Parameters of `nets.ResNet18`, of any width, from the tensors under `prefix`.

    Raises:
      InputError: one is missing, or of another shape.
    """
    numbered = source.has(f"{prefix}0.weight")
    outer = {"conv1": "0", "bn1": "1", "fc": "9", **{f"layer{k}": str(k + 3) for k in range(1, 5)}}

    def named(path: str) -> str:
        first, dot, rest = path.partition(".")
        return prefix + (outer[first] if numbered else first) + dot + rest

    convs: list[dict[str, np.ndarray]] = []
    shortcuts: list[dict[str, np.ndarray]] = []

    def layer(conv: str, norm: str, size: int, ci: int, co: int | None) -> int:
        kernel = source.take(f"{named(conv)}.weight", (size, size, ci, co), hwio)
        gain, offset = folded_norm(source, named(norm), kernel.shape[-1])
        folded = {"kernel": kernel * gain, "bias": offset}  # float32 all
        if size == 1:
            shortcuts.append({"kernel": folded["kernel"][0, 0], "bias": folded["bias"]})
        else:
            convs.append(folded)
        return kernel.shape[-1]

    width = channels = layer("conv1", "bn1", 7, 3, None)
    for stage in range(_STAGES):
        features = width * 2**stage
        for block in range(_BLOCKS):
            name = f"layer{stage + 1}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", 3, channels, features)
            layer(f"{name}.conv2", f"{name}.bn2", 3, features, features)
            if channels != features:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", 1, channels, features)
            channels = features
    source.drop(f"{named('fc')}.weight", f"{named('fc')}.bias")
    params: dict[str, Any] = {f"Conv_{k}": conv for k, conv in enumerate(convs)}
    return params | {f"Dense_{k}": dense for k, dense in enumerate(shortcuts)}


def find_trunk(source: Tensors) -> str | None:
    """Prefix of the names of a ResNet among other tensors; None without one."""
    for name in source.names():
        match = re.fullmatch(r"(.*?)(conv1|0)\.weight", name)
        if match and source.ndim(name) == 4 and source.shape(name)[1:] == (3, 7, 7):
            return match[1]
    return None


def load_resnet18(path: Path) -> dict[str, Any]:
    """`{"trunk": {"params": ...}}` of a `.pth` or `.safetensors` file.

    Raises:
      InputError: (`torch_file`, `safetensors_file`, `resnet18_weights`) unsafe, damaged, another network.
    """
    refuse: Callable[[str], InputError] = partial(_other_network, path)
    source = Tensors(state_dict(read_tensors_of(path)), refuse)
    prefix = find_trunk(source)
    if prefix is None:
        raise refuse("no conv1.weight of 7 x 7")
    params = take_trunk(source, prefix)
    source.finish()
    return {"trunk": {"params": params}}


def _other_network(path: Path, why: str) -> InputError:
    return InputError(
        f"{path.name} is no ResNet-18 ({why})",
        expected="the state dict of torchvision's resnet18",
        fix="give resnet18-*.pth as torchvision downloads it, or the same tensors as .safetensors",
        code="resnet18_weights",
    )
