"""Operations of a function, counted from its jaxpr: matrix products and convolutions, 2 per multiply-add.

The count does not depend on the backend or on what the compiler fuses, and loops count as often as they run
(XLA's own cost analysis counts the body of a `while` once, and loses products that a backend hands to a
library). What `jax.checkpoint` computes again counts again. Elementwise work, reductions and sorts are left
out: they are bound by memory, not by arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count_flops(function: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """Matmul and convolution operations of one call, all devices together.

    Args:
      function: traceable; jitted or not.
      *args, **kwargs: arrays or `jax.ShapeDtypeStruct`s; nothing is computed.
    """
    return _count(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def count_loop_turns(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Turns of all `scan` loops of one call: each waits for the one before, however small its work is."""
    return _turns(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def _turns(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [_turns(jaxpr) for jaxpr in _inner(equation.params)]
        if equation.primitive.name == "scan":
            total += equation.params["length"] * max(sum(inner), 1)
        else:
            total += max(inner, default=0) if equation.primitive.name == "cond" else sum(inner)
    return total


def _count(jaxpr: core.Jaxpr) -> float:
    total = 0.0
    platforms: set[Any] = set()  # variables that say which platform the program is for
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        known = [v for v in equation.invars if not isinstance(v, core.Literal)]
        if name == "platform_index" or (platforms & set(known) and name in ("clamp", "convert_element_type")):
            platforms |= set(equation.outvars)
        if name == "dot_general":
            total += _dot(equation)
            continue
        if name == "conv_general_dilated":
            total += _convolution(equation)
            continue
        inner = [_count(jaxpr) for jaxpr in _inner(params)]
        if name == "scan":
            total += params["length"] * sum(inner)
        elif name == "cond":  # between platforms the last branch is the common way, the others work around
            by_platform = not isinstance(equation.invars[0], core.Literal) and equation.invars[0] in platforms
            total += inner[-1] if by_platform else max(inner)
        else:  # jit, custom_vjp, remat and others; a while loop counts once: its length is unknown
            total += sum(inner)
    return total


def _inner(params: dict[str, Any]) -> list[core.Jaxpr]:
    found = []
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, core.Jaxpr):
                found.append(part)
    return found


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _convolution(equation: Any) -> float:
    """Products with real data only: taps on padding and on the zeros between dilated rows do not count."""
    params = equation.params
    numbers = params["dimension_numbers"]
    data, kernel = (v.aval.shape for v in equation.invars[:2])
    out = equation.outvars[0].aval.shape
    taps = 1.0
    for k in range(len(params["padding"])):
        taps *= _taps(
            data[numbers.lhs_spec[2 + k]],
            kernel[numbers.rhs_spec[2 + k]],
            out[numbers.out_spec[2 + k]],
            params["window_strides"][k],
            params["padding"][k][0],
            params["lhs_dilation"][k],
            params["rhs_dilation"][k],
        )
    # the kernel's input features are those of one group; batch groups share the batch out among outputs
    per_tap = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]
    return 2.0 * taps * per_tap


def _taps(size: int, kernel: int, out: int, stride: int, low: int, spread: int, gap: int) -> int:
    """Pairs of (output place, kernel tap) that meet a real input element, in one dimension.

    Output o and tap t read place o * stride + t * gap - low of the input with `spread - 1` zeros between.
    """
    last = (size - 1) * spread
    meet = 0
    for tap in range(kernel):
        shift = tap * gap - low
        first = max(0, math.ceil(-shift / stride))
        end = min(out - 1, (last - shift) // stride)
        if spread == 1:
            meet += max(0, end - first + 1)
        else:
            meet += sum((o * stride + shift) % spread == 0 for o in range(first, end + 1))
    return meet
