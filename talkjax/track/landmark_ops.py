"""The attention mesh's three custom operators and its few bookkeeping ones, for numpy and JAX alike.

Each function takes the array module `xp` (numpy or jax.numpy). The semantics are those of the operators of
MediaPipe (Apache-2.0, see NOTICE): a head (lips, either eye) looks at the feature map through a rotated,
scaled window around its own points, and its answer is mapped back through the same transform.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from talkjax.track.tflite_graph import Graph, Operator

LIGHT_OPERATORS = frozenset(
    {
        *("RESHAPE", "MUL", "STRIDED_SLICE"),
        *("Landmarks2TransformMatrix", "TransformTensorBilinear", "TransformLandmarks"),
    }
)


def _dot(a: Any, b: Any, xp: ModuleType) -> Any:
    """Product of small matrices as a sum, which no accelerator rounds to lower precision."""
    return xp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def window_matrix(points: Any, options: dict[str, Any], xp: ModuleType) -> Any:
    """Transform `[b 4 4]` from window pixels to the space of `points [b n 2+]`.

    The window is turned so that two named points lie level, holds all points of the subset, is `scale` times
    as large as their box, and measures output_width x output_height pixels.
    """
    xy = points[..., :2]
    across = xy[:, options["right_rotation_idx"]] - xy[:, options["left_rotation_idx"]]
    angle = options["target_rotation_radians"] - xp.arctan2(across[:, 1], across[:, 0])
    cos, sin = xp.cos(angle), xp.sin(angle)
    turn_back = xp.stack([xp.stack([cos, sin], -1), xp.stack([-sin, cos], -1)], -2)
    level = _dot(xy[:, np.array(options["subset_idxs"])], turn_back, xp)
    high, low = xp.max(level, axis=1), xp.min(level, axis=1)
    center = _dot(turn_back, ((high + low) / 2)[..., None], xp)[..., 0]
    size = np.array([options["output_width"], options["output_height"]], np.float32)
    scale = (high - low) * np.array([options["scale_x"], options["scale_y"]], np.float32) / size
    linear = turn_back * scale[:, None, :]
    shift = center - xp.sum(linear * (size / 2), axis=-1)
    zero, one = xp.zeros_like(cos), xp.ones_like(cos)
    rows = [xp.stack([linear[:, i, 0], linear[:, i, 1], zero, shift[:, i]], -1) for i in (0, 1)]
    return xp.stack([*rows, xp.stack([zero, zero, one, zero], -1), xp.stack([zero, zero, zero, one], -1)], -2)


def sample_window(features: Any, matrix: Any, options: dict[str, Any], xp: ModuleType) -> Any:
    """Bilinear samples `[b height width c]` of `features [b h w c]` at the window's pixel centres.

    A sample whose position lies outside the outermost pixel centres is zero.
    """
    batch, h, w, channels = features.shape
    height, width = options["output_height"], options["output_width"]
    u, v = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32)[:, None] + 0.5
    m = matrix[:, :, :, None, None]
    x = m[:, 0, 0] * u + m[:, 0, 1] * v + m[:, 0, 3] - 0.5
    y = m[:, 1, 0] * u + m[:, 1, 1] * v + m[:, 1, 3] - 0.5
    inside = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    x0, y0 = (xp.clip(xp.floor(p), 0, n - 2) for p, n in ((x, w), (y, h)))
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    first = (y0 * w + x0).astype(np.int32).reshape(batch, -1)
    flat = features.reshape(batch, h * w, channels)
    rows = np.arange(batch)[:, None]

    def corner(step: int) -> Any:
        return flat[rows, first + step].reshape(batch, height, width, channels)

    top = corner(0) * (1 - fx) + corner(1) * fx
    bottom = corner(w) * (1 - fx) + corner(w + 1) * fx
    return xp.where(inside[..., None], top * (1 - fy) + bottom * fy, 0.0).astype(np.float32)


def transform_points(points: Any, matrix: Any, xp: ModuleType) -> Any:
    """Maps points `[b n 2]` through the 2D part of `matrix [b 4 4]`."""
    return _dot(points, xp.swapaxes(matrix[:, :2, :2], 1, 2), xp) + matrix[:, None, :2, 3]


def run_light(operator: Operator, read: Any, graph: Graph, xp: ModuleType) -> Any:
    """Result of one operator of LIGHT_OPERATORS; `read(i)` gives the value of its i-th input."""
    name, options = operator.name, operator.options
    if name == "RESHAPE":
        value = read(0)
        return value.reshape(value.shape[0], *graph.shapes[operator.outputs[0]][1:])
    if name == "MUL":
        return read(0) * read(1)
    if name == "STRIDED_SLICE":
        begin, end, step = (graph.constants[i] for i in operator.inputs[1:4])
        keep = tuple(slice(int(b), int(e), int(s)) for b, e, s in zip(begin, end, step, strict=True))
        return read(0)[(slice(None), *keep[1:])]
    if name == "Landmarks2TransformMatrix":
        return window_matrix(read(0), options, xp)
    if name == "TransformTensorBilinear":
        return sample_window(read(0), read(1), options, xp)
    if name == "TransformLandmarks":
        return transform_points(read(0), read(1), xp)
    raise ValueError(f"{name} is no light operator")
