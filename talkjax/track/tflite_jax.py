"""Runs a float TFLite graph in pure JAX: the same weights without a native TFLite runtime.

Inference only. Depthwise convolutions are written as shifted multiply-adds: XLA's grouped convolution is
several times slower on CPU. Every network goes through jit, whose result is tested against op-by-op
execution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.track.landmark_ops import LIGHT_OPERATORS, run_light
from talkjax.track.tflite_graph import Graph, Operator

Params = dict[str, np.ndarray]
_NO_ACTIVATION, _RELU, _RELU6 = 0, 1, 3
_SAME = 0


def _activate(value: jax.Array, kind: int) -> jax.Array:
    if kind == _NO_ACTIVATION:
        return value
    if kind == _RELU:
        return jnp.maximum(value, 0)
    if kind == _RELU6:
        return jnp.clip(value, 0, 6)
    raise ValueError(f"fused activation {kind} is not supported")


def _padding(size: int, kernel: int, stride: int, mode: int) -> tuple[int, int]:
    """Zeros before and after one axis, by TensorFlow's rule."""
    if mode != _SAME:
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, options: dict[str, int]) -> jax.Array:
    """`kernel [out kh kw in]`."""
    strides = (options["stride_h"], options["stride_w"])
    pads = [_padding(x.shape[1 + a], kernel.shape[1 + a], strides[a], options["padding"]) for a in (0, 1)]
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return _activate(y + bias, options["activation"])


def _depthwise(x: jax.Array, kernel: jax.Array, bias: jax.Array, options: dict[str, int]) -> jax.Array:
    """`kernel [1 kh kw c]`, one filter per channel."""
    _, kh, kw, channels = kernel.shape
    if channels != x.shape[-1]:
        raise ValueError("depthwise convolution with a channel multiplier is not supported")
    sh, sw = options["stride_h"], options["stride_w"]
    pad_h = _padding(x.shape[1], kh, sh, options["padding"])
    pad_w = _padding(x.shape[2], kw, sw, options["padding"])
    x = jnp.pad(x, ((0, 0), pad_h, pad_w, (0, 0)))
    out_h, out_w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    total = bias
    for i in range(kh):
        for j in range(kw):
            shifted = x[:, i : i + (out_h - 1) * sh + 1 : sh, j : j + (out_w - 1) * sw + 1 : sw]
            total = total + shifted * kernel[0, i, j]
    return _activate(total, options["activation"])


def _max_pool(x: jax.Array, options: dict[str, int]) -> jax.Array:
    kernel, strides = (options["filter_h"], options["filter_w"]), (options["stride_h"], options["stride_w"])
    pads = [_padding(x.shape[1 + a], kernel[a], strides[a], options["padding"]) for a in (0, 1)]
    window = ((1, *kernel, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))
    return _activate(jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window), options["activation"])


def run_operator(operator: Operator, read: Callable[[int], Any], graph: Graph) -> jax.Array:
    """Result of one operator; `read(i)` gives the value of its i-th input."""
    name, options = operator.name, operator.options
    if name in LIGHT_OPERATORS:
        return run_light(operator, read, graph, jnp)
    if name == "CONV_2D":
        return _conv(read(0), read(1), read(2), options)
    if name == "DEPTHWISE_CONV_2D":
        return _depthwise(read(0), read(1), read(2), options)
    if name == "PRELU":
        value = read(0)
        return jnp.where(value >= 0, value, value * read(1))
    if name == "RELU":
        return jnp.maximum(read(0), 0)
    if name == "ADD":
        return _activate(read(0) + read(1), options["activation"])
    if name == "MAX_POOL_2D":
        return _max_pool(read(0), options)
    if name == "PAD":
        return jnp.pad(read(0), graph.constants[operator.inputs[1]])
    if name == "CONCATENATION":
        return jnp.concatenate([read(i) for i in range(len(operator.inputs))], options["axis"])
    raise ValueError(f"operator {name} is not supported")


def graph_params(graph: Graph) -> Params:
    """Float weights by tensor index, as a pytree to pass to the function of `graph_function`."""
    return {
        str(i): value.astype(np.float32) for i, value in graph.constants.items() if value.dtype.kind == "f"
    }


def graph_function(graph: Graph, outputs: tuple[int, ...]) -> Callable[[Params, jax.Array], tuple]:
    """A pure function `(params, input [b ...]) -> outputs [b ...]` of a one-input graph, any batch."""

    def apply(params: Params, x: jax.Array) -> tuple:
        values: dict[int, Any] = {graph.inputs[0]: x}
        for operator in graph.operators:

            def read(i: int, tensors: tuple[int, ...] = operator.inputs) -> Any:
                tensor = tensors[i]
                return values[tensor] if tensor in values else params[str(tensor)]

            values[operator.outputs[0]] = run_operator(operator, read, graph)
        return tuple(values[t] for t in outputs)

    return apply
