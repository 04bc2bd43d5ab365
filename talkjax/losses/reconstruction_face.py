"""Terms that train R-Net without labels: a rendered face against the photograph (reference.md §2.5).

Every term is a mean over the batch; `WEIGHTS` are the reference's. Colors in [0, 1]; landmarks in pixels of
a `REFERENCE_SIZE` image.
"""

from __future__ import annotations

from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.numerics import normalize, safe_norm
from talkjax.types import FaceCoeffs

WEIGHTS = MappingProxyType(
    {
        "photometric": 1.92,
        "landmark": 1.6e-3,
        "perceptual": 0.2,
        "coefficient": 3e-4,
        "reflectance": 5.0,
        "gamma": 10.0,
    }
)
"""What each term is multiplied by."""

REFERENCE_SIZE = 224
"""Pixels of the side for which the landmark weight holds: scale landmarks of smaller crops up to it."""

EXP_SHARE, TEX_SHARE = 0.8, 1.7e-2

LANDMARK_WEIGHTS = np.ones(68, np.float32)
"""Of the 68 standard landmarks; nose ridge (28-30) and inner mouth (60-67) count 20 times."""
LANDMARK_WEIGHTS[28:31] = LANDMARK_WEIGHTS[60:68] = 20.0
LANDMARK_WEIGHTS.setflags(write=False)

SKIN_CENTER = (102.0, 153.0)
SKIN_RADII = (25.0, 20.0)
"""Ellipse in (Cb, Cr), 0-255: inscribed in the box of skin found by Chai & Ngan (1999), 77-127 x 133-173."""
_SKIN_FALLOFF = 2.0


def photometric(
    rendered: Float[Array, "b h w 3"], image: Float[Array, "b h w 3"], mask: Float[Array, "b h w 1"]
) -> Float[Array, ""]:
    """Mean over the mask of the Euclidean distance of colors; zero gradient where they are equal.

    Args:
      rendered, image: colors in [0, 1].
      mask: face coverage times skin attention; a constant of the optimisation. All zero gives zero.
    """
    mask = jax.lax.stop_gradient(mask[..., 0])
    return jnp.sum(safe_norm(rendered - image) * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def landmark(
    projected: Float[Array, "*b n 2"],
    detected: Float[Array, "*b n 2"],
    weights: Float[Array | np.ndarray, "n"] = LANDMARK_WEIGHTS,
) -> Float[Array, ""]:
    """Sum over landmarks of weight * squared distance, over their number (not over the sum of weights)."""
    squared = jnp.sum(jnp.square(projected - detected), -1)
    return jnp.mean(jnp.mean(squared * weights, -1))


def perceptual(rendered: Float[Array, "*b f"], photograph: Float[Array, "*b f"]) -> Float[Array, ""]:
    """1 - cosine of two embeddings of any face network; a zero embedding is at distance 1, without
    gradient."""
    return jnp.mean(1.0 - jnp.sum(normalize(rendered) * normalize(photograph), -1))


def coefficient(coeffs: FaceCoeffs) -> Float[Array, ""]:
    """|id|^2 + 0.8 |exp|^2 + 0.017 |tex|^2: keeps faces plausible. Coefficients in sigmas."""

    def size(x: Float[Array, "*b n"]) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(jnp.square(x), -1))

    return size(coeffs.id_coeffs) + EXP_SHARE * size(coeffs.exp_coeffs) + TEX_SHARE * size(coeffs.tex_coeffs)


def reflectance(albedo: Float[Array, "*b v 3"], skin: Float[Array, "v"]) -> Float[Array, ""]:
    """Variance of the albedo ([0, 1], summed over channels) inside the mesh's skin mask; empty gives zero."""
    skin = skin[:, None]
    total = jnp.maximum(jnp.sum(skin), 1e-6)
    middle = jnp.sum(albedo * skin, -2, keepdims=True) / total
    # the mask is inside the square, as in the reference
    return jnp.mean(jnp.sum(jnp.square((albedo - middle) * skin), (-2, -1)) / total)


def gamma(sh_coeffs: Float[Array, "*b 3 9"]) -> Float[Array, ""]:
    """Mean squared distance of each channel's light from the channels' mean: light is nearly white."""
    return jnp.mean(jnp.square(sh_coeffs - jnp.mean(sh_coeffs, -2, keepdims=True)))


def total(terms: dict[str, Float[Array, ""]], weights: dict[str, float] | None = None) -> Float[Array, ""]:
    """Weighted sum of the terms at hand.

    Args:
      terms: by names of `WEIGHTS`; any may lack.
      weights: instead of the reference's, for some or all terms.

    Raises:
      KeyError: a term without a weight.
    """
    table = {**WEIGHTS, **(weights or {})}
    return sum((table[name] * value for name, value in terms.items()), start=jnp.zeros(()))


def skin_attention(
    image: Float[Array, "*b h w 3"],
    skin_mask: Float[Array, "*b h w 1"],
    center: tuple[float, float] | Float[Array, "*b 2"] = SKIN_CENTER,
) -> Float[Array, "*b h w 1"]:
    """How surely each pixel is bare skin, in [0, 1], constant for gradients.

    1 inside an ellipse of (Cb, Cr), falling to 0 outside, times the mesh's skin: hair, glasses, microphones
    and white teeth leave the photometric term. Instead of the reference's naive Bayes model, whose numbers
    are a data file of their own. Chroma hardly depends on how dark skin is, but does on the white balance:
    `skin_chroma` measures a clip's own center.

    Args:
      image: sRGB in [0, 1].
      skin_mask: coverage of the rendered mesh's skin.
      center: (Cb, Cr) in 0-255.
    """
    away = (_chroma(image) - jnp.asarray(center)[..., None, None, :]) / jnp.asarray(SKIN_RADII)
    squared = jnp.sum(jnp.square(away), -1, keepdims=True)
    inside = jnp.exp(-_SKIN_FALLOFF * jnp.maximum(squared - 1.0, 0.0))
    return jax.lax.stop_gradient(inside * skin_mask)


def skin_chroma(image: Float[Array, "*b h w 3"], skin_mask: Float[Array, "*b h w 1"]) -> Float[Array, "*b 2"]:
    """Mean (Cb, Cr) under the mask, drawn to `SKIN_CENTER` as if that had been seen in 100 pixels."""
    prior = 100.0
    seen = jnp.sum(_chroma(image) * skin_mask, (-3, -2)) + prior * jnp.asarray(SKIN_CENTER)
    return seen / (jnp.sum(skin_mask, (-3, -2)) + prior)


def _chroma(image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 2"]:
    """(Cb, Cr) of JPEG (ITU-T T.871), 0-255."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    cb = -0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 0.5 * red - 0.418688 * green - 0.081312 * blue
    return 255.0 * jnp.stack([cb, cr], -1) + 128.0
