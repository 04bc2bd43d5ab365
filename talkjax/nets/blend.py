"""What every generator hands out, and how it becomes a picture."""

from __future__ import annotations

from collections.abc import Sequence

from flax import struct
from jaxtyping import Array, Float


@struct.dataclass
class GeneratorOutputs:
    """A generator's heads, all float32.

    color: painted picture in [-1, 1] (tanh).
    residual: small correction added at the end, in [-0.5, 0.5]; zeros where a generator has none.
    attention: weights that sum to 1 over the last axis: one per candidate image, the painted picture's last.
    """

    color: Float[Array, "b h w 3"]
    residual: Float[Array, "b h w 3"]
    attention: Float[Array, "b h w n_plus_1"]


def blend(
    outputs: GeneratorOutputs, candidates: Sequence[Float[Array, "b h w 3"]]
) -> Float[Array, "b h w 3"]:
    """The refined picture: sum over candidates of attention * candidate, + attention * color, + residual.

    Reference.md §5.1 has one candidate, the current composite: fake = M * A_t + (1 - M) * C.

    Args:
      outputs: what the generator returned.
      candidates: images in [-1, 1], in the order of the attention channels; `[n b h w 3]` works too.

    Returns:
      Image nominally in [-1, 1]; the residual can leave it, so clip before showing.

    Raises:
      ValueError: when the number of candidates is not the number of attention channels less one.
    """
    n = outputs.attention.shape[-1] - 1
    if len(candidates) != n:
        raise ValueError(f"{len(candidates)} candidate images, but attention for {n} and the color")
    image = outputs.residual + outputs.attention[..., n:] * outputs.color
    for i in range(n):
        image = image + outputs.attention[..., i : i + 1] * candidates[i]
    return image
