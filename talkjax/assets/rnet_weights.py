"""Published R-Net weights, where a user holds them: the TensorFlow graph and the PyTorch port's checkpoint.

Neither is carried or fetched by this project. Both become the variables of `nets.ReconstructionNet`, for RGB
images in [0, 1]. Nothing in the files is executed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.graph_file import read_graph_constants
from talkjax.assets.named_tensors import Tensors, hwio, state_dict
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError

_HEADS = ("id", "exp", "tex", "euler", "sh", "xy", "z")
_FIXED_SIZES = {"euler": 3, "sh": 27, "xy": 2, "z": 1}
_TF_HEADS = dict(zip(_HEADS, ("id", "ex", "tex", "angles", "gamma", "XY", "Z"), strict=True))
_TF_NAME = re.compile(
    r"(?:.*/)?(resnet_v1_50/.*(?:weights|gamma|beta|moving_mean|moving_variance)"
    r"|fc-(?:id|ex|tex|angles|gamma|XY|Z)/(?:weights|biases))"
)
_TORCH_MARK = "backbone.conv1.weight"


@dataclasses.dataclass(frozen=True)
class RnetWeights:
    """Arguments and variables of a `nets.ReconstructionNet`.

    Attributes:
      sizes: how many identity, expression, texture coefficients.
      width, blocks, stride_last: fields of the network.
      variables: `params` and `batch_stats`, numpy float32.
    """

    sizes: tuple[int, int, int]
    width: int
    blocks: tuple[int, ...]
    stride_last: bool
    variables: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Names:
    """How a file names kernels, the four parts of a norm, heads; and how its kernels become HWIO.

    Arguments are (stage, unit, layer): stage 0 is the stem, units count from 1, layer is "conv1" to "conv3"
    or "shortcut".
    """

    kernel: Callable[[int, int, str], str]
    norm: Callable[[int, int, str], tuple[str, str, str, str]]
    head: Callable[[str], tuple[str, str]]
    hwio: Callable[[np.ndarray], np.ndarray]


def _torch_conv(stage: int, unit: int, layer: str) -> str:
    if stage == 0:
        return "backbone.conv1"
    return f"backbone.layer{stage}.{unit - 1}.{'downsample.0' if layer == 'shortcut' else layer}"


def _torch_norm(stage: int, unit: int, layer: str) -> tuple[str, str, str, str]:
    name = _torch_conv(stage, unit, layer)
    name = name.removesuffix("0") + "1" if layer == "shortcut" else re.sub(r"conv(\d)$", r"bn\1", name)
    return (f"{name}.weight", f"{name}.bias", f"{name}.running_mean", f"{name}.running_var")


_TORCH = _Names(
    kernel=lambda *at: _torch_conv(*at) + ".weight",
    norm=_torch_norm,
    head=lambda name: (
        f"final_layers.{_HEADS.index(name)}.weight",
        f"final_layers.{_HEADS.index(name)}.bias",
    ),
    hwio=hwio,
)


def _tf_conv(stage: int, unit: int, layer: str) -> str:
    if stage == 0:
        return "resnet_v1_50/conv1"
    return f"resnet_v1_50/block{stage}/unit_{unit}/bottleneck_v1/{layer}"


def _tf_norm(*at: Any) -> tuple[str, str, str, str]:
    name = _tf_conv(*at) + "/BatchNorm"
    return (f"{name}/gamma", f"{name}/beta", f"{name}/moving_mean", f"{name}/moving_variance")


_TF = _Names(
    kernel=lambda *at: _tf_conv(*at) + "/weights",
    norm=_tf_norm,
    head=lambda name: (f"fc-{_TF_HEADS[name]}/weights", f"fc-{_TF_HEADS[name]}/biases"),
    hwio=lambda kernel: kernel,
)


def load_torch_weights(path: Path) -> RnetWeights:
    """A checkpoint of the PyTorch port (`epoch_20.pth`): its `net_recon`, or that state dict alone.

    Raises:
      InputError: (`torch_file`, `rnet_weights`) unsafe, damaged, of another network, or of other shapes.
    """
    content = read_torch_file(path)
    if isinstance(content, Mapping) and isinstance(content.get("net_recon"), Mapping):
        content = content["net_recon"]
    tensors = state_dict(content)
    if _TORCH_MARK not in tensors:
        raise _other_network(path, f"no {_TORCH_MARK}")
    return _assemble(path, tensors, _TORCH, stride_last=False)


def load_tensorflow_weights(path: Path) -> RnetWeights:
    """The frozen TensorFlow graph (`FaceReconModel.pb`): TF-slim's `resnet_v1_50` and seven heads.

    That network takes BGR in 0-255, not normalized; the first kernel is turned and scaled so that RGB in
    [0, 1] gives the same numbers.

    Raises:
      InputError: (`graph_file`, `rnet_weights`) damaged, of another network, or of other shapes.
    """
    constants = read_graph_constants(path, lambda name: _TF_NAME.fullmatch(name) is not None)
    tensors: dict[str, np.ndarray] = {}
    for name, value in constants.items():
        match = _TF_NAME.fullmatch(name)
        assert match is not None
        if match[1] in tensors:
            raise _other_network(path, f"two tensors {match[1]}")
        tensors[match[1]] = value
    first = _TF.kernel(0, 0, "conv1")
    if first not in tensors:
        raise _other_network(path, f"no {first}")
    if tensors[first].ndim == 4:
        tensors[first] = 255.0 * tensors[first][:, :, ::-1]
    return _assemble(path, tensors, _TF, stride_last=True)


def _other_network(path: Path, why: str) -> InputError:
    return InputError(
        f"{path.name} is no R-Net ({why})",
        expected="a ResNet-50 v1 with heads for identity, expression, texture, angles, light, translation",
        fix="give the published FaceReconModel.pb, or a checkpoint of the PyTorch port made with resnet50",
        code="rnet_weights",
    )


def _assemble(
    path: Path, tensors: Mapping[str, np.ndarray], names: _Names, *, stride_last: bool
) -> RnetWeights:
    source = Tensors(tensors, partial(_other_network, path))
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}

    def layer(into: str, at: tuple[int, int, str], size: int, ci: int, co: int | None) -> int:
        kernel = source.take(names.kernel(*at), (size, size, ci, co), names.hwio)
        co = kernel.shape[-1]
        scale, bias, mean, var = (source.take(name, (co,)) for name in names.norm(*at))
        if (var < 0).any():
            raise _other_network(path, f"{names.norm(*at)[3]} is negative")
        params[into] = {"kernel": kernel, "norm": {"scale": scale, "bias": bias}}
        stats[into] = {"norm": {"mean": mean, "var": var}}
        return co

    width = channels = layer("stem", (0, 0, "conv1"), 7, 3, None)
    blocks = []
    for stage in range(1, 5):
        inner, unit = width * 2 ** (stage - 1), 1
        while unit == 1 or source.has(names.kernel(stage, unit, "conv1")):
            name = f"stage{stage}_unit{unit}_"
            layer(name + "conv1", (stage, unit, "conv1"), 1, channels, inner)
            layer(name + "conv2", (stage, unit, "conv2"), 3, inner, inner)
            layer(name + "conv3", (stage, unit, "conv3"), 1, inner, 4 * inner)
            if unit == 1:
                layer(name + "shortcut", (stage, unit, "shortcut"), 1, channels, 4 * inner)
            channels, unit = 4 * inner, unit + 1
        blocks.append(unit - 1)
    heads = {}
    for name in _HEADS:
        kernel_name, bias_name = names.head(name)
        kernel = source.take(kernel_name, (1, 1, channels, _FIXED_SIZES.get(name)), names.hwio)[0, 0]
        heads[name] = {"kernel": kernel, "bias": source.take(bias_name, (kernel.shape[-1],))}
    source.finish()
    xy, z = heads.pop("xy"), heads.pop("z")
    heads["translation"] = {key: np.concatenate([xy[key], z[key]], -1) for key in xy}
    params["heads"] = heads
    n_id, n_exp, n_tex = (heads[name]["bias"].size for name in ("id", "exp", "tex"))
    return RnetWeights(
        sizes=(n_id, n_exp, n_tex),
        width=width,
        blocks=tuple(blocks),
        stride_last=stride_last,
        variables={"params": params, "batch_stats": stats},
    )
