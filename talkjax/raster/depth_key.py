"""One 64-bit number per pixel: depth in the high half, triangle id in the low half.

The smallest key wins, so the nearest triangle wins and, of equally near ones, the lowest id; the order in which
candidates arrive does not matter. A float depth must be computed once and carried inside the key: recomputing it in
another fusion gives other last bits. 64-bit integers need JAX's x64 mode, which is entered here and only here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

KeyBuffer = Array
"""uint64 [n_pixels]; all ones where nothing was drawn."""


def x64() -> Any:
    """Context in which 64-bit integers exist."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # older JAX

    return enable_x64(True)


def empty(n_pixels: int) -> KeyBuffer:
    """Buffer with nothing drawn."""
    with x64():
        return jnp.full((n_pixels,), np.uint64(2**64 - 1), jnp.uint64)


def draw(
    buffer: KeyBuffer,
    pixel: Int[Array, "..."],
    depth: Float[Array, "..."],
    face_id: Int[Array, "..."],
) -> KeyBuffer:
    """Keeps, per pixel, the smallest of the buffer's key and the candidates'; indices out of range are dropped."""
    bits = lax.bitcast_convert_type(depth, jnp.uint32)
    # float order as unsigned order: flip the sign bit of positives, all bits of negatives
    bits = jnp.where((bits >> jnp.uint32(31)) == 1, ~bits, bits | jnp.uint32(1 << 31))
    ids = jnp.broadcast_to(face_id, pixel.shape)
    with x64():
        key = (bits.astype(jnp.uint64) << np.uint64(32)) | ids.astype(jnp.uint64)
        return buffer.at[pixel.reshape(-1)].min(key.reshape(-1), mode="drop")


def winner(buffer: KeyBuffer) -> Int[Array, "n"]:
    """Triangle id per pixel, -1 where nothing was drawn (the all-ones key)."""
    with x64():
        low = (buffer & np.uint64(0xFFFFFFFF)).astype(jnp.uint32)
    return lax.bitcast_convert_type(low, jnp.int32)
