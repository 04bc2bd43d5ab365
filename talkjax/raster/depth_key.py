"""One 64-bit number per pixel: depth in the high half, triangle id in the low half.

The smallest key wins, so the nearest triangle wins and, of equally near ones, the lowest id; the order in
which candidates arrive does not matter. A float depth must be computed once and carried inside the key:
recomputing it in another fusion gives other last bits. 64-bit integers need JAX's x64 mode, which is entered
here and only here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_NOTHING = np.uint64(2**64 - 1)

KeyBuffer = Array
"""uint64 [n_pixels]; all ones where nothing was drawn."""


def x64() -> Any:
    """Context in which 64-bit integers exist."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # type: ignore[attr-defined]  # older JAX

    return enable_x64(True)


def empty(n_pixels: int, zero: Int[Array, ""]) -> KeyBuffer:
    """Buffer with nothing drawn; varies over devices as the 0 that is given does."""
    with x64():
        return jnp.full((n_pixels,), _NOTHING, jnp.uint64) - zero.astype(jnp.uint64)


def draw_rows(
    buffer: KeyBuffer,
    first_pixel: Int[Array, "n k"],
    depth: Float[Array, "n k k"],
    face_id: Int[Array, "n 1 1"],
    inside: Bool[Array, "n k k"],
) -> KeyBuffer:
    """Keeps, per pixel, the smallest of the buffer's key and the candidates'.

    A candidate row is k neighbors in memory from `first_pixel` on, which must lie in the buffer. Pixels not
    `inside` get the all-ones key, which never wins. Whole rows cost XLA's CPU scatter a fifth of single
    pixels (no mispredicted bounds check, no index per pixel).
    """
    k = depth.shape[-1]
    rows = lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
    )
    with x64():
        key = jnp.where(inside, _key(depth, face_id), _NOTHING).reshape(-1, k)
        return lax.scatter_min(buffer, first_pixel.reshape(-1, 1), key, rows, mode="promise_in_bounds")


def draw_pixels(
    buffer: KeyBuffer,
    pixel: Int[Array, "n k k"],
    depth: Float[Array, "n k k"],
    face_id: Int[Array, "n 1 1"],
    inside: Bool[Array, "n k k"],
) -> KeyBuffer:
    """The same, pixel by pixel; those not `inside` write nothing. One atomic minimum each on GPU."""
    place = jnp.where(inside, pixel, buffer.shape[0])
    with x64():
        return buffer.at[place.reshape(-1)].min(_key(depth, face_id).reshape(-1), mode="drop")


def _key(depth: Float[Array, "*n"], face_id: Int[Array, "*m"]) -> Array:
    bits = lax.bitcast_convert_type(depth, jnp.uint32)
    # float order as unsigned order: flip the sign bit of positives, all bits of negatives
    bits = jnp.where((bits >> jnp.uint32(31)) == 1, ~bits, bits | jnp.uint32(1 << 31))
    return (bits.astype(jnp.uint64) << np.uint64(32)) | face_id.astype(jnp.uint64)


def winner(buffer: KeyBuffer) -> Int[Array, "n"]:
    """Triangle id per pixel, -1 where nothing was drawn (the all-ones key)."""
    with x64():
        low = (buffer & np.uint64(0xFFFFFFFF)).astype(jnp.uint32)
    return lax.bitcast_convert_type(low, jnp.int32)


def nothing_kept(n: int, zero: Int[Array, ""]) -> KeyBuffer:
    """Buffer for `keep_largest` with nothing in it: zeros (the caller's)."""
    with x64():
        return jnp.broadcast_to(zero.astype(jnp.uint64), (n,))


def keep_largest(
    buffer: KeyBuffer, index: Int[Array, "n"], value: Float[Array, "n"], tag: Int[Array, "n"]
) -> KeyBuffer:
    """Keeps, per index, the candidate of the largest `value` (not negative); on a tie that of the lowest tag.

    Indices beyond the buffer are dropped.
    """
    bits = lax.bitcast_convert_type(jnp.maximum(value, 0.0), jnp.uint32)
    with x64():
        key = (bits.astype(jnp.uint64) << np.uint64(32)) | (~tag.astype(jnp.uint32)).astype(jnp.uint64)
        return buffer.at[index].max(key, mode="drop")


def kept_tag(buffer: KeyBuffer) -> Int[Array, "n"]:
    """The tag that `keep_largest` kept; -1 where there is none."""
    with x64():
        return (~buffer.astype(jnp.uint32)).astype(jnp.int32)
