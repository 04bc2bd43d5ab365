"""Reading a texture between its texels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.errors import InputError


def sample_texture(
    texture: Float[Array, "*b th tw c"], uv: Float[Array, "*b h w 2"]
) -> Float[Array, "*b h w c"]:
    """Bilinear sample: u right, v down, both in [0, 1]; texel (i, j) has its center at ((j+.5)/tw,
    (i+.5)/th).

    Beyond the outer centers the border texel is repeated. The texture may lack the batch of `uv` and is then
    shared. Gradients flow to the texture and to uv (piecewise constant in uv per texel cell, zero beyond the
    border). A coordinate that is not finite reads the first texel, without gradient.

    Raises:
      InputError: shapes that do not fit.
    """
    batch = uv.shape[:-3]
    if texture.ndim < 3 or texture.shape[:-3] not in (batch, ()) or uv.shape[-1] != 2:
        raise InputError(
            f"texture has shape {texture.shape}, uv {uv.shape}",
            expected="[*b, th, tw, c] and [*b, h, w, 2]",
            code="bad_shape",
        )
    return _bilinear(texture, uv)


@jax.jit
def _bilinear(texture: Float[Array, "*b th tw c"], uv: Float[Array, "*b h w 2"]) -> Float[Array, "*b h w c"]:
    height, width, n_channels = texture.shape[-3:]
    uv = jnp.where(jnp.isfinite(uv), uv, 0.0)
    u, v = jnp.unstack(uv, axis=-1)
    x = jnp.clip(u * width - 0.5, 0.0, width - 1.0)
    y = jnp.clip(v * height - 0.5, 0.0, height - 1.0)
    # the cell's first texel; at the last center the cell before it is used with weight 1
    left = jnp.minimum(jnp.floor(x), max(width - 2, 0)).astype(jnp.int32)
    top = jnp.minimum(jnp.floor(y), max(height - 2, 0)).astype(jnp.int32)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    first = top * width + left
    if texture.ndim > 3:
        n = texture.size // (height * width * n_channels)
        offset = jnp.arange(n, dtype=jnp.int32).reshape(*texture.shape[:-3], 1, 1) * (height * width)
        first = first + offset
    texels = texture.reshape(-1, n_channels)
    right, down = min(1, width - 1), min(1, height - 1) * width

    def texel(offset: int) -> Array:
        return texels.at[first + offset].get(mode="promise_in_bounds")

    upper = texel(0) * (1 - fx) + texel(right) * fx
    lower = texel(down) * (1 - fx) + texel(down + right) * fx
    return upper * (1 - fy) + lower * fy
