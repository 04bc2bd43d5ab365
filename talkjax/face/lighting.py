"""Nine-band spherical-harmonic lighting with the reference's constants (reference.md §2.2)."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import einsum

AMBIENT = 0.8
"""Added to band 0 of every channel; stored `sh_coeffs` do not contain it."""

# Lambertian kernel a_l times the normalisation c_l of the real harmonics.
_A0, _A1, _A2 = math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)
_C0 = 1 / math.sqrt(4 * math.pi)
_C1 = math.sqrt(3) / math.sqrt(4 * math.pi)
_C2 = 3 * math.sqrt(5) / math.sqrt(12 * math.pi)


def sh_basis(normals: Float[Array, "*b 3"]) -> Float[Array, "*b 9"]:
    """The bands Y0..Y8 at unit normals given in camera space (after head pose)."""
    nx, ny, nz = normals[..., 0], normals[..., 1], normals[..., 2]
    bands = [
        jnp.full_like(nx, _A0 * _C0),
        -_A1 * _C1 * ny,
        _A1 * _C1 * nz,
        -_A1 * _C1 * nx,
        _A2 * _C2 * nx * ny,
        -_A2 * _C2 * ny * nz,
        _A2 * _C2 * 0.5 / math.sqrt(3) * (3 * nz**2 - 1),
        -_A2 * _C2 * nx * nz,
        _A2 * _C2 * 0.5 * (nx**2 - ny**2),
    ]
    return jnp.stack(bands, axis=-1)


def irradiance(normals: Float[Array, "*b n 3"], sh_coeffs: Float[Array, "*b 3 9"]) -> Float[Array, "*b n 3"]:
    """Light per colour channel at unit camera-space normals: Y . gamma, gamma = sh_coeffs with `AMBIENT`."""
    gamma = jnp.asarray(sh_coeffs).at[..., 0].add(AMBIENT)
    return einsum("...nk,...ck->...nc", sh_basis(normals), gamma)


def shade(
    albedo: Float[Array, "*b n 3"], normals: Float[Array, "*b n 3"], sh_coeffs: Float[Array, "*b 3 9"]
) -> Float[Array, "*b n 3"]:
    """Lit colour = albedo * (Y . gamma), not clipped.

    Args:
      albedo: colour in [0, 1]; `n` are vertices or pixels.
      normals: unit normals in camera space.
      sh_coeffs: 9 bands per colour channel, without the constant `AMBIENT`, which is added here.
    """
    return albedo * irradiance(normals, sh_coeffs)
