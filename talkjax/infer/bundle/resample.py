"""The picture operations of `compose` and `track/crop` in jnp: the same pixels as OpenCV's up to rounding.

Coordinates are rounded to 1/32 px before interpolation as OpenCV does. Weights that depend on sizes alone are
made in numpy while tracing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from talkjax.numerics import einsum

STEPS = 32  # sampling positions per pixel
_A = -0.75  # OpenCV's cubic kernel


def cubic_weights(f: Array) -> Array:
    """Weights `[*b 4]` of the taps at -1, 0, 1, 2 for a position `f` in [0, 1) after tap 0."""

    def near(x: Array) -> Array:
        return ((_A + 2) * x - (_A + 3)) * x * x + 1

    first = ((_A * (f + 1) - 5 * _A) * (f + 1) + 8 * _A) * (f + 1) - 4 * _A
    second, third = near(f), near(1 - f)
    return jnp.stack([first, second, third, 1 - first - second - third], -1)


def linear_weights(f: Array) -> Array:
    """Weights `[*b 2]` of the taps at 0 and 1."""
    return jnp.stack([1 - f, f], -1)


def split(x: Float[Array, "*b"]) -> tuple[Int[Array, "*b"], Float[Array, "*b"]]:
    """Pixel number and what is left, in steps of 1/32."""
    steps = jnp.round(x * STEPS).astype(jnp.int32)
    return steps >> 5, (steps & (STEPS - 1)).astype(jnp.float32) / STEPS


def _along(image: Array, axis: int, first: Array, weights: Array, zero_outside: bool) -> Array:
    """Resamples rows (axis 0) or columns (axis 1): sum over taps of weight * image[first + tap]."""
    n, shape = image.shape[axis], [1, 1, 1]
    shape[axis] = first.shape[0]
    out: Array = jnp.float32(0)
    for tap in range(weights.shape[-1]):
        at = first + tap
        weight = weights[:, tap]
        if zero_outside:
            weight = jnp.where((at >= 0) & (at < n), weight, 0.0)
        part = jnp.take(image, jnp.clip(at, 0, n - 1), axis=axis, mode="clip")
        out = out + weight.reshape(shape) * part.astype(jnp.float32)
    return out


def scaled(
    image: Array,
    rows: Float[Array, "h"],
    columns: Float[Array, "w"],
    *,
    cubic: bool = False,
    zero_outside: bool = False,
) -> Float[Array, "h w c"]:
    """The image `[h0 w0 c]` at the positions `rows` x `columns` (integer pixel centers).

    Outside, the border is repeated, or zero.
    """
    out = image
    for axis, position in enumerate((rows, columns)):
        first, f = split(position)
        weights = cubic_weights(f) if cubic else linear_weights(f)
        out = _along(out, axis, first - 1 if cubic else first, weights, zero_outside)
    return out


def remap_cubic(image: Float[Array, "h w c"], x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Array:
    """The image at (x, y), bicubic, border repeated: `[*s c]`."""
    height, width, _ = image.shape
    (left, fx), (top, fy) = split(x), split(y)
    wx, wy = cubic_weights(fx), cubic_weights(fy)
    flat = image.reshape(height * width, -1)
    columns = [jnp.clip(left + k - 1, 0, width - 1) for k in range(4)]
    out: Array = jnp.float32(0)
    for i in range(4):
        row = jnp.clip(top + i - 1, 0, height - 1) * width
        line: Array = jnp.float32(0)
        for k in range(4):
            pixel = flat.at[row + columns[k]].get(mode="promise_in_bounds")
            line = line + wx[..., k, None] * pixel
        out = out + wy[..., i, None] * line
    return out


def resize_matrix(n_in: int, n_out: int, kind: str) -> Float[np.ndarray, "o i"]:
    """What one axis of OpenCV's `resize` does, as a matrix. kind: `cubic`, `lanczos` (8 taps) or `area`."""
    out = np.zeros((n_out, n_in))
    scale = n_in / n_out
    for k in range(n_out):
        if kind == "area":
            low, high = k * scale, (k + 1) * scale
            for j in range(int(low), min(int(np.ceil(high)), n_in)):
                out[k, j] = (min(high, j + 1) - max(low, j)) / scale
            continue
        at = (k + 0.5) * scale - 0.5
        base, f = int(np.floor(at)), at - np.floor(at)
        taps = _lanczos(f) if kind == "lanczos" else np.asarray(cubic_numpy(f))
        for tap, weight in enumerate(taps):
            out[k, np.clip(base + tap - len(taps) // 2 + 1, 0, n_in - 1)] += weight
    return out.astype(np.float32)


def cubic_numpy(f: float) -> list[float]:
    """`cubic_weights` of one number."""
    near = [((_A + 2) * x - (_A + 3)) * x * x + 1 for x in (f, 1 - f)]
    first = ((_A * (f + 1) - 5 * _A) * (f + 1) + 8 * _A) * (f + 1) - 4 * _A
    return [first, *near, 1 - first - sum(near)]


def _lanczos(f: float) -> np.ndarray:
    x = f - np.arange(-3, 5)
    weights = np.sinc(x) * np.sinc(x / 4)
    return weights / weights.sum()


def resized(image: Float[Array, "h w c"], size: int, kind: str) -> Float[Array, "n n c"]:
    """OpenCV's `resize` of a square picture."""
    if image.shape[0] == size:
        return image
    matrix = jnp.asarray(resize_matrix(image.shape[0], size, kind))
    return einsum("iy,yxc,jx->ijc", matrix, image, matrix)


def gaussian(image: Float[Array, "h w c"], sigma: float) -> Float[Array, "h w c"]:
    """OpenCV's `GaussianBlur(image, (0, 0), sigma)` of a float image (border mirrored without its edge)."""
    reach = (round(sigma * 8 + 1) | 1) // 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (reach, reach)
        wide, n = jnp.pad(image, pad, mode="reflect"), image.shape[axis]
        parts = [w * jax.lax.slice_in_dim(wide, k, k + n, axis=axis) for k, w in enumerate(taps)]
        image = sum(parts[1:], parts[0])
    return image


def erode_ellipse(mask: Bool[Array, "h w"], reach: int) -> Bool[Array, "h w"]:
    """OpenCV's erosion by `MORPH_ELLIPSE` of side 2 reach + 1; outside the image nothing is set."""
    height, width = mask.shape
    counted = jnp.cumsum(jnp.pad(mask.astype(jnp.int32), ((reach, reach), (reach + 1, reach))), axis=1)
    out = jnp.ones((height, width), bool)
    for dy in range(-reach, reach + 1):
        half = round(reach * np.sqrt((reach * reach - dy * dy) / reach**2))
        rows = counted[reach + dy : reach + dy + height]
        inside = rows[:, reach + half + 1 :][:, :width] - rows[:, reach - half :][:, :width]
        out &= inside == 2 * half + 1
    return out


def polygon_distance(points: Float[Array, "n 2"], corners: Float[Array, "k 2"]) -> Float[Array, "n"]:
    """How far points lie outside a closed polygon; 0 inside."""
    start, edge = corners[None], jnp.roll(corners, -1, 0)[None] - corners[None]
    away = points[:, None] - start
    length = jnp.maximum((edge**2).sum(-1), 1e-12)
    along = jnp.clip((away * edge).sum(-1) / length, 0, 1)
    squared = ((away - along[..., None] * edge) ** 2).sum(-1).min(1)
    end = start + edge
    crosses = (start[..., 1] > points[:, None, 1]) != (end[..., 1] > points[:, None, 1])
    safe = jnp.where(edge[..., 1] == 0, 1.0, edge[..., 1])
    at = start[..., 0] + edge[..., 0] * away[..., 1] / safe
    inside = (crosses & (points[:, None, 0] < at)).sum(1) % 2 == 1
    return jnp.where(inside, 0.0, jnp.sqrt(squared))
