"""A small embedding of who somebody is, trained on drawn people: it stands in for face recognition."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax import numerics
from talkjax.nets.reconstruction_small import small_trunk

TRUNK_FEATURES = 32


class SmallFaceEmbedding(nn.Module):
    """RGB `[b 112 112 3]` in [0, 1], the tracker's square around the head -> unit vectors `[b features]`.

    Attributes:
      features: length of the answer.
      width, units: of the trunk, which is the small reconstruction network's.
      dtype: type of the arithmetic; the answer is float32.
    """

    features: int = 64
    width: int = 16
    units: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"]) -> Float[Array, "b f"]:
        x = small_trunk(image, self.width, self.units, TRUNK_FEATURES, self.dtype)
        x = x.astype(jnp.float32).reshape(x.shape[0], -1)
        return numerics.normalize(nn.Dense(self.features, name="embed")(x))
