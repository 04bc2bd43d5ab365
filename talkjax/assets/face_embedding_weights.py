"""ArcFace weights that a user holds -> `nets.FaceEmbedding`: ONNX, safetensors or PyTorch.

State dicts bear InsightFace's names (`conv1`, `layer1.0.bn1` ... `bn2`, `fc`, `features`). In an ONNX file
names say nothing: exporters fold norms and number tensors. There the layers are found by following the
picture through the graph. Nothing in the files is executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.named_tensors import Tensors, hwio, state_dict
from talkjax.assets.onnx_file import Graph, Node, read_onnx
from talkjax.assets.resnet18_weights import folded_norm
from talkjax.assets.safetensors_file import read_tensors_of
from talkjax.errors import InputError

_STAGES = 4
_MIDDLE = 127.5
"""Of the pixels, 0 to 255: networks of this kind see (pixel - 127.5) / 127.5, some / 128."""

Params = dict[str, dict[str, np.ndarray]]


def load_face_embedding(path: Path) -> dict[str, Any]:
    """`{"embedding": {"params": ...}}`; units, width, features follow from the shapes.

    Raises:
      InputError: (`onnx_file`, `torch_file`, `safetensors_file`, `face_embedding_weights`) unsafe, damaged,
        another network, other shapes.
    """
    refuse: Callable[[str], InputError] = partial(_other_network, path)
    if path.suffix == ".onnx":
        params = _Walk(read_onnx(path), refuse).params()
    else:
        params = _from_names(Tensors(state_dict(read_tensors_of(path)), refuse))
    _check(params, refuse)
    return {"embedding": {"params": params}}


def _other_network(path: Path, why: str) -> InputError:
    return InputError(
        f"{path.name} is no ArcFace network ({why})",
        expected="IResNet of any depth: .onnx, or its state dict as .pth or .safetensors",
        fix="give w600k_r50.onnx of InsightFace's model zoo, or backbone.pth of its PyTorch training",
        code="face_embedding_weights",
    )


def _single(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def _folded(kernel: np.ndarray, bias: Any, gain: Any = 1.0, offset: Any = 0.0) -> dict[str, np.ndarray]:
    """A convolution [kh kw ci co] and the norm after it; 1 x 1 becomes a matrix."""
    layer = {"kernel": _single(kernel * gain), "bias": _single(bias * gain + offset)}
    if layer["kernel"].shape[:2] == (1, 1):
        layer["kernel"] = layer["kernel"][0, 0]
    return layer


def _head(matrix: np.ndarray, bias: Any, before: Any, after: Any, refuse: Callable[[str], InputError]) -> Any:
    """Matrix [f c*h*w] over channels, rows, columns, with the norms before and after it -> [h*w*c f]."""
    channels = len(before[0])
    side = math.isqrt(matrix.shape[1] // channels)
    if matrix.shape[1] != channels * side * side:
        raise refuse(f"the last layer takes {matrix.shape[1]} numbers of {channels} channels")
    cube = matrix.reshape(-1, channels, side, side)
    bias = bias + np.einsum("fcyx,c->f", cube, before[1])
    kernel = (cube * before[0][:, None, None]).transpose(2, 3, 1, 0).reshape(matrix.shape[1], -1)
    return {"kernel": _single(kernel * after[0]), "bias": _single(bias * after[0] + after[1])}


def _from_names(source: Tensors) -> Params:
    def conv(name: str, norm: str | None, shape: tuple[int | None, ...]) -> dict[str, np.ndarray]:
        kernel = source.take(f"{name}.weight", shape, hwio)
        gain, offset = (1.0, np.zeros(kernel.shape[-1])) if norm is None else _norm(norm, kernel.shape[-1])
        return _folded(kernel, 0.0, gain, offset)

    def _norm(name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        return folded_norm(source, name, channels)

    params: Params = {"stem": conv("conv1", "bn1", (3, 3, 3, None))}
    width = channels = params["stem"]["bias"].size
    params["stem_slope"] = {"slope": source.take("prelu.weight", (width,))}
    for stage in range(1, _STAGES + 1):
        features, unit = width * 2 ** (stage - 1), 1
        while unit == 1 or source.has(f"layer{stage}.{unit - 1}.conv1.weight"):
            at, name = f"layer{stage}.{unit - 1}", f"stage{stage}_unit{unit}_"
            gain, offset = _norm(f"{at}.bn1", channels)
            params[name + "norm"] = {"scale": gain, "bias": offset}
            params[name + "conv1"] = conv(f"{at}.conv1", f"{at}.bn2", (3, 3, channels, features))
            params[name + "slope"] = {"slope": source.take(f"{at}.prelu.weight", (features,))}
            params[name + "conv2"] = conv(f"{at}.conv2", f"{at}.bn3", (3, 3, features, features))
            if unit == 1:
                shortcut = f"{at}.downsample"
                params[name + "shortcut"] = conv(f"{shortcut}.0", f"{shortcut}.1", (1, 1, channels, features))
            channels, unit = features, unit + 1
    before = _norm("bn2", channels)
    matrix = source.take("fc.weight", (None, None))
    bias = source.take("fc.bias", (len(matrix),))
    params["head"] = _head(matrix, bias, before, _norm("features", len(matrix)), source.refuse)
    source.finish()
    return params


class _Walk:
    """Follows the picture through an ONNX graph, layer by layer."""

    _PASSED = ("Dropout", "Identity", "Flatten", "Reshape")

    def __init__(self, graph: Graph, refuse: Callable[[str], InputError]):
        self._graph, self._refuse = graph, refuse
        self._readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
        if len(graph.inputs) != 1:
            raise refuse(f"{len(graph.inputs)} inputs, not one picture")
        self._at = graph.inputs[0]

    def params(self) -> Params:
        scale = self._scaling()
        params: Params = {"stem": self._conv(self._only("Conv"), 1)}
        params["stem"]["kernel"] = _single(params["stem"]["kernel"] * scale)
        params["stem_slope"] = self._slope()
        stage, unit = 0, 0
        while len(self._next()) == 2:
            first = self._one_of("BatchNormalization")
            other = next(node for node in self._next() if node is not first)
            stage, unit = (stage + 1, 1) if other.op == "Conv" else (stage, unit + 1)
            name, start = f"stage{stage}_unit{unit}_", self._at
            gain, offset = self._norm(first)
            params[name + "norm"] = {"scale": _single(gain), "bias": _single(offset)}
            params[name + "conv1"] = self._conv(self._only("Conv"), 1)
            params[name + "slope"] = self._slope()
            params[name + "conv2"] = self._conv(self._only("Conv"), 2 if unit == 1 else 1)
            end = self._at
            if unit == 1:
                self._at = start
                params[name + "shortcut"] = self._conv(other, 2)
                start = self._at
            self._at = end
            added = self._only("Add")
            if set(added.inputs) != {start, end}:
                raise self._refuse(f"unit {unit} of stage {stage} does not add what came in")
            self._at = added.outputs[0]
        params["head"] = self._last()
        return params

    def _next(self) -> list[Node]:
        return self._readers.get(self._at, [])

    def _one_of(self, op: str) -> Node:
        found = [node for node in self._next() if node.op == op]
        if len(found) != 1:
            raise self._refuse(f"{[node.op for node in self._next()]} where {op} belongs")
        return found[0]

    def _only(self, op: str) -> Node:
        if len(self._next()) != 1:
            raise self._refuse(f"{[node.op for node in self._next()]} where {op} alone belongs")
        return self._one_of(op)

    def _numbers(self, node: Node, k: int, ndim: int | None = None) -> np.ndarray:
        value = self._graph.tensors.get(node.inputs[k]) if k < len(node.inputs) else None
        if value is None or (ndim is not None and value.ndim != ndim):
            raise self._refuse(f"input {k} of {node.op} has no stored numbers that fit")
        return np.asarray(value, np.float64)

    def _scaling(self) -> float:
        """Of a graph that takes raw pixels: what it does before its first layer, over the usual."""
        gain, offset = 1.0, 0.0
        steps = 0
        while len(self._next()) == 1 and (node := self._next()[0]).op in ("Sub", "Mul", "Div", "Add"):
            value = self._numbers(node, 1)
            if value.size != 1 or node.inputs[0] != self._at:
                raise self._refuse(f"{node.op} before the first layer is not by one number")
            number = float(value.reshape(()))
            if node.op in ("Sub", "Add"):
                offset += -number if node.op == "Sub" else number
            else:
                factor = number if node.op == "Mul" else 1 / number
                gain, offset = gain * factor, offset * factor
            self._at, steps = node.outputs[0], steps + 1
        if not steps:
            return 1.0
        if not math.isclose(offset, -_MIDDLE * gain, rel_tol=1e-3):
            raise self._refuse("it does not center its pixels at 127.5")
        return _MIDDLE * gain

    def _conv(self, node: Node, stride: int) -> dict[str, np.ndarray]:
        kernel = self._numbers(node, 1, 4).transpose(2, 3, 1, 0)
        size = kernel.shape[0]
        wanted = {"strides": [stride] * 2, "pads": [size // 2] * 4, "group": 1, "dilations": [1, 1]}
        defaults = {"strides": [1, 1], "pads": [0] * 4, "group": 1, "dilations": [1, 1]}
        for setting, want in wanted.items():
            if node.settings.get(setting, defaults[setting]) != want:
                raise self._refuse(f"a convolution with {setting} {node.settings.get(setting)}, not {want}")
        bias = self._numbers(node, 2, 1) if len(node.inputs) > 2 else np.zeros(kernel.shape[-1])
        self._at = node.outputs[0]
        gain, offset = self._norm_if_any(kernel.shape[-1])
        return _folded(kernel, bias, gain, offset)

    def _norm(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        weight, bias, mean, var = (self._numbers(node, k, 1) for k in (1, 2, 3, 4))
        if (var < 0).any():
            raise self._refuse("a norm with negative variance")
        gain = weight / np.sqrt(var + node.settings.get("epsilon", 1e-5))
        self._at = node.outputs[0]
        return gain, bias - mean * gain

    def _norm_if_any(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        if [node.op for node in self._next()] == ["BatchNormalization"]:
            return self._norm(self._next()[0])
        return np.ones(channels), np.zeros(channels)

    def _slope(self) -> dict[str, np.ndarray]:
        node = self._only("PRelu")
        self._at = node.outputs[0]
        return {"slope": _single(self._numbers(node, 1).reshape(-1))}

    def _pass(self) -> None:
        while len(self._next()) == 1 and self._next()[0].op in self._PASSED:
            self._at = self._next()[0].outputs[0]

    def _last(self) -> dict[str, np.ndarray]:
        before = self._norm(self._only("BatchNormalization"))
        self._pass()
        node = self._only("Gemm")
        settings = node.settings
        if settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0 or settings.get("transA", 0):
            raise self._refuse("a last layer with factors")
        matrix = self._numbers(node, 1, 2)
        matrix = matrix if settings.get("transB", 0) else matrix.T
        bias = self._numbers(node, 2, 1) if len(node.inputs) > 2 else np.zeros(len(matrix))
        self._at = node.outputs[0]
        after = self._norm_if_any(len(matrix))
        self._pass()
        if self._at not in self._graph.outputs:
            raise self._refuse(f"{[node.op for node in self._next()]} after the last layer")
        return _head(matrix, bias, before, after, self._refuse)


def _check(params: Params, refuse: Callable[[str], InputError]) -> None:
    """Shapes against each other, finite numbers; what a graph says need not fit together."""
    width, channels, stage = params["stem"]["bias"].size, params["stem"]["bias"].size, 0
    wanted: dict[str, tuple[int, ...]] = {"stem/kernel": (3, 3, 3, width), "stem_slope/slope": (width,)}
    for name in params:
        if not name.endswith("_norm"):
            continue
        unit = name.removesuffix("norm")
        stage = int(unit[len("stage")])
        features = width * 2 ** (stage - 1)
        wanted[f"{name}/scale"] = wanted[f"{name}/bias"] = (channels,)
        wanted |= {f"{unit}conv1/kernel": (3, 3, channels, features), f"{unit}conv1/bias": (features,)}
        wanted |= {f"{unit}conv2/kernel": (3, 3, features, features), f"{unit}conv2/bias": (features,)}
        wanted[f"{unit}slope/slope"] = (features,)
        if f"{unit}shortcut" in params:
            wanted |= {f"{unit}shortcut/kernel": (channels, features), f"{unit}shortcut/bias": (features,)}
        channels = features
    if stage != _STAGES:
        raise refuse(f"{stage} stages, not {_STAGES}")
    for name, shape in wanted.items():
        layer, part = name.split("/")
        if params[layer][part].shape != shape:
            raise refuse(f"{name} has shape {params[layer][part].shape}, not {shape}")
    for name, parts in params.items():
        if not all(np.isfinite(value).all() for value in parts.values()):
            raise refuse(f"{name} is not finite")
