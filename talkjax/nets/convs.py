"""Convolutions that are fast both on XLA:CPU and on accelerators, forward and backward.

Every function here computes the same numbers on every platform; only the way differs, chosen when the
program is lowered (`lax.platform_dependent`), so an exported program carries both ways. Why not plain `lax`
everywhere: on two CPU cores the gradient of a 4x4 stride-2 transposed convolution runs at 2 % of the
machine's speed, a weight gradient at batch 1 is 2-5 times slower than one matrix product per kernel row,
and convolution gradients inside a rolled `lax.scan` are 90 times slower, which matrix products are not.

All images are NHWC, kernels HWIO `[kh kw ci co]`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_MAX_ROW_BATCH = 2
_MAX_ROW_SIZE = 16
_MAX_SMALL_BATCH = 16
"""On CPU, weight gradients are matrix products up to the first batch, or to this output height and the second
batch; above, XLA's are up to three times faster. Those of 1x1 kernels always are."""
_MAX_OVERLAP_SIZE = 16
"""Largest input height at which overlap-add beats four phase convolutions for upsampling on CPU."""


def _is_at_most(size: Any, limit: int) -> bool:
    """Whether a static size is at most `limit`; symbolic sizes (export) are not."""
    return isinstance(size, int) and size <= limit


def _plain(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT)


def space_to_depth(x: Float[Array, "b h w c"], block: int) -> Float[Array, "b h_small w_small c_big"]:
    """Folds `block` x `block` pixels into channels (row, column, channel order); exact inverse below."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: Float[Array, "b h w c_big"], block: int) -> Float[Array, "b h_big w_big c"]:
    """Unfolds channels into `block` x `block` pixels: the pixel shuffle."""
    b, h, w, c = x.shape
    c //= block * block
    x = x.reshape(b, h, w, block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * block, w * block, c)


def max_pool3(x: Float[Array, "b h w c"], strides: tuple[int, int]) -> Float[Array, "b ho wo c"]:
    """Maximum over 3x3 windows that lie within the image.

    Maxima of shifted copies, rows first: on CPU three to five times as fast as XLA's window reduction, whose
    gradient also searches each window for where its maximum is. Equal maxima share the gradient.
    """
    for axis, stride in zip((1, 2), strides, strict=True):
        span = (x.shape[axis] - 3) // stride * stride + 1
        first, second, third = (lax.slice_in_dim(x, i, i + span, stride, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


_any_platform: contextvars.ContextVar[bool] = contextvars.ContextVar("any_platform", default=False)


@contextlib.contextmanager
def any_platform() -> Iterator[None]:
    """What is traced inside has one way for all platforms, forward: for converters that know no platforms."""
    token = _any_platform.set(True)
    try:
        yield
    finally:
        _any_platform.reset(token)


# ---------------------------------------------------------------------------------------------- convolution


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(
    x: Float[Array, "b h w ci"], kernel: Float[Array, "kh kw ci co"], stride: int = 1, padding: int = 0
) -> Float[Array, "b ho wo co"]:
    """Cross-correlation with zero padding on all four sides."""
    return _plain(x, kernel, stride, padding)


def _conv_forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel, stride, padding), (x, kernel)


def _conv_backward(stride: int, padding: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    halves = kernel.shape[:2] == (4, 4) and stride == 2 and padding == 1
    if halves and x.shape[1] == 2 * g.shape[1] and x.shape[2] == 2 * g.shape[2]:
        dx = _up(g, kernel.transpose(0, 1, 3, 2))
    else:
        (dx,) = jax.linear_transpose(lambda t: _plain(t, kernel, stride, padding), x)(g)
    return dx, _kernel_gradient(x, g, kernel, stride, padding)


conv.defvjp(_conv_forward, _conv_backward)


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, padding: int) -> Array:
    """d loss / d kernel of `conv`, given the gradient `g` of its output."""

    def native(x: Array, g: Array) -> Array:
        (dw,) = jax.linear_transpose(lambda k: _plain(x, k, stride, padding), kernel)(g)
        return dw

    small = _is_at_most(g.shape[1], _MAX_ROW_SIZE) and _is_at_most(x.shape[0], _MAX_SMALL_BATCH)
    if not (_is_at_most(x.shape[0], _MAX_ROW_BATCH) or small or kernel.shape[:2] == (1, 1)):
        return native(x, g)
    taps = (kernel.shape[0], kernel.shape[1])
    by_row = partial(_kernel_gradient_by_row, taps=taps, stride=stride, padding=padding)
    return lax.platform_dependent(x, g, cpu=by_row, default=native)


def _kernel_gradient_by_row(x: Array, g: Array, *, taps: tuple[int, int], stride: int, padding: int) -> Array:
    """One matrix product per kernel row: dw[i] = (row-shifted copies of x).T @ g, columns side by side."""
    b, h, w, co = g.shape
    ci = x.shape[-1]
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    columns = [x[:, :, j : j + stride * (w - 1) + 1 : stride] for j in range(taps[1])]
    wide = jnp.concatenate(columns, -1)
    g_rows = g.reshape(b * h * w, co).T

    def kernel_row(i: int) -> Array:
        part = wide[:, i : i + stride * (h - 1) + 1 : stride].reshape(b * h * w, taps[1] * ci)
        dw = jnp.matmul(g_rows, part, preferred_element_type=jnp.float32)
        return dw.T.reshape(taps[1], ci, co).astype(g.dtype)

    return jnp.stack([kernel_row(i) for i in range(taps[0])])


# ------------------------------------------------------------------------------------- blocks of pixels


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear_blocks(
    x: Float[Array, "b h w ci"], kernel: Float[Array, "block*block*ci co"], block: int
) -> Float[Array, "b h/block w/block co"]:
    """`space_to_depth(x, block) @ kernel`; on CPU as a strided convolution, which moves no pixels first."""
    if _any_platform.get():
        return _blocks_by_matmul(x, kernel, block)
    by_conv, by_matmul = partial(_blocks_by_conv, block=block), partial(_blocks_by_matmul, block=block)
    return lax.platform_dependent(x, kernel, cpu=by_conv, default=by_matmul)


def _blocks_by_conv(x: Array, kernel: Array, block: int) -> Array:
    return _plain(x, kernel.reshape(block, block, x.shape[-1], -1), block, 0)


def _blocks_by_matmul(x: Array, kernel: Array, block: int) -> Array:
    return space_to_depth(x, block) @ kernel


def _blocks_forward(x: Array, kernel: Array, block: int) -> tuple[Array, tuple[Array, Array]]:
    return linear_blocks(x, kernel, block), (x, kernel)


def _blocks_backward(block: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    return jax.vjp(lambda x, kernel: _blocks_by_matmul(x, kernel, block), *saved)[1](g)


linear_blocks.defvjp(_blocks_forward, _blocks_backward)


# -------------------------------------------------------------------- transposed 4x4, stride 2, padding 1


@jax.custom_vjp
def conv_up(x: Float[Array, "b h w ci"], kernel: Float[Array, "4 4 ci co"]) -> Float[Array, "b 2h 2w co"]:
    """Transposed 4x4 convolution, stride 2, padding 1: doubles height and width.

    `out[2 i + k - 1] += x[i] kernel[k]` in each direction, the orientation of the reference's framework.
    """
    return _up(x, kernel)


def _up_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    # The transpose of a transposed convolution is a plain strided one: its two gradients are plain too.
    x, kernel = saved
    swapped = kernel.transpose(0, 1, 3, 2)
    dx = _plain(g, swapped, 2, 1)
    return dx, _kernel_gradient(g, x, swapped, 2, 1).transpose(0, 1, 3, 2)


conv_up.defvjp(lambda x, kernel: (_up(x, kernel), (x, kernel)), _up_backward)


def _up(x: Array, kernel: Array) -> Array:
    if _any_platform.get():
        return _up_native(x, kernel)
    few = _is_at_most(x.shape[1], _MAX_OVERLAP_SIZE)
    return lax.platform_dependent(
        x, kernel, cpu=_up_by_overlap_add if few else _up_by_phase, default=_up_native
    )


def _up_native(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), [(2, 2), (2, 2)], lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
    )


def _interleave(phases: list[Array]) -> Array:
    """Four images (row phase, column phase) of one size -> one of twice the size."""
    b, h, w, c = phases[0].shape
    rows = jnp.stack([jnp.stack(phases[:2], 3), jnp.stack(phases[2:], 3)], 2)
    return rows.reshape(b, 2 * h, 2 * w, c)


def _up_by_phase(x: Array, kernel: Array) -> Array:
    """Output pixels of one parity are a plain 2x2 convolution: even ones see taps (3, 1), odd (2, 0)."""
    phases = []
    for row in (0, 1):
        for column in (0, 1):
            part = kernel[(3, 2)[row] :: -2, (3, 2)[column] :: -2]
            pads = [(1 - row, row), (1 - column, column)]
            phases.append(lax.conv_general_dilated(x, part, (1, 1), pads, dimension_numbers=_LAYOUT))
    return _interleave(phases)


def _up_by_overlap_add(x: Array, kernel: Array) -> Array:
    """One matrix product to all 16 taps, then shifted adds: best for few pixels and many channels."""
    b, h, w, ci = x.shape
    co = kernel.shape[-1]
    taps = (x.reshape(-1, ci) @ kernel.transpose(2, 0, 1, 3).reshape(ci, 16 * co)).reshape(b, h, w, 4, 4, co)
    taps = jnp.pad(taps, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
    # (shift of the input, tap) pairs that reach an even and an odd output pixel
    pairs = (((0, 1), (-1, 3)), ((0, 2), (1, 0)))

    def phase(row: int, column: int) -> Array:
        total = jnp.zeros((b, h, w, co), x.dtype)
        for di, i in pairs[row]:
            for dj, j in pairs[column]:
                total = total + taps[:, 1 + di : 1 + di + h, 1 + dj : 1 + dj + w, i, j]
        return total

    return _interleave([phase(row, column) for row in (0, 1) for column in (0, 1)])


# ---------------------------------------------------------------------------------- few output channels


@jax.custom_vjp
def conv_head(x: Float[Array, "b h w ci"], kernel: Float[Array, "k k ci co"]) -> Float[Array, "b h w co"]:
    """Size-keeping odd convolution to few channels (the 7x7 heads): 3x faster backward on CPU."""
    return _plain(x, kernel, 1, kernel.shape[0] // 2)


def _head_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def native(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(lambda x, k: _plain(x, k, 1, k.shape[0] // 2), x, kernel)[1](g)

    return lax.platform_dependent(*saved, g, cpu=_head_gradient_by_gemm, default=native)


def _head_gradient_by_gemm(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    """Both gradients from one table of all shifts of `g`, which has few channels."""
    size, p = kernel.shape[0], kernel.shape[0] // 2
    b, h, w, co = g.shape
    ci = x.shape[-1]
    padded = jnp.pad(g, ((0, 0), (p, p), (p, p), (0, 0)))
    shifts = [
        padded[:, 2 * p - i : 2 * p - i + h, 2 * p - j : 2 * p - j + w]
        for i in range(size)
        for j in range(size)
    ]
    table = jnp.concatenate(shifts, -1).reshape(b * h * w, size * size * co)
    dx = (table @ kernel.transpose(0, 1, 3, 2).reshape(size * size * co, ci)).reshape(x.shape)
    dw = (x.reshape(-1, ci).T @ table).reshape(ci, size, size, co).transpose(1, 2, 0, 3)
    return dx, dw


conv_head.defvjp(lambda x, kernel: (_plain(x, kernel, 1, kernel.shape[0] // 2), (x, kernel)), _head_backward)


def conv_few_outputs(
    x: Float[Array, "b h w ci"], kernel: Float[Array, "k k ci co"], padding: int
) -> Float[Array, "b ho wo co"]:
    """Stride-1 convolution to one or two channels at few pixels: one matrix product, then shifted adds."""
    size, _, ci, co = kernel.shape
    b, h, w, _ = x.shape
    taps = x.reshape(-1, ci) @ kernel.transpose(2, 0, 1, 3).reshape(ci, size * size * co)
    taps = taps.reshape(b, h, w, size, size, co)
    taps = jnp.pad(taps, ((0, 0), (padding, padding), (padding, padding), (0, 0), (0, 0), (0, 0)))
    ho, wo = h + 2 * padding - size + 1, w + 2 * padding - size + 1
    total = jnp.zeros((b, ho, wo, co), x.dtype)
    for i in range(size):
        for j in range(size):
            total = total + taps[:, i : i + ho, j : j + wo, i, j]
    return total
