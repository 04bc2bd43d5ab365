"""Nine-band spherical-harmonic lighting with the reference's constants (reference.md §2.2)."""

from __future__ import annotations

import math

import jax
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
    return jnp.stack(_bands(normals), axis=-1)


def _bands(normals: Float[Array, "*b 3"]) -> list[Float[Array, "*b"]]:
    nx, ny, nz = jnp.unstack(normals, axis=-1)
    return [
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


@jax.custom_jvp
def irradiance(
    normals: Float[Array, "*b *n 3"], sh_coeffs: Float[Array, "*b 3 9"]
) -> Float[Array, "*b *n 3"]:
    """Light per colour channel at unit camera-space normals: Y . gamma, gamma = sh_coeffs with `AMBIENT`.

    `*n` are vertices, or rows and columns of pixels; vertices may lack the batch and are then shared. Summed
    band by band, not as a product of matrices: for that, XLA on CPU writes nine numbers per pixel side by
    side, which takes longer than all the rest.
    """
    gamma = jnp.asarray(sh_coeffs).at[..., 0].add(AMBIENT)
    bands = _bands(normals)
    apart = (..., *(None,) * max(normals.ndim - gamma.ndim + 1, 1))
    planes = [sum(band * gamma[..., c, k][apart] for k, band in enumerate(bands)) for c in range(3)]
    return jnp.stack(planes, axis=-1)


@irradiance.defjvp
def _irradiance_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """With respect to the coefficients a product of matrices after all: its transpose sums over all pixels
    for 27 numbers, which 27 separate sums would do far slower."""
    normals, sh_coeffs = primals
    light, from_normals = jax.jvp(lambda n: irradiance.fun(n, sh_coeffs), primals[:1], tangents[:1])
    shared = normals.ndim < sh_coeffs.ndim
    flat = normals if shared else normals.reshape(*sh_coeffs.shape[:-2], -1, 3)
    from_sh = einsum("k...n,...ck->...nc", jnp.stack(_bands(flat)), tangents[1])
    return light, from_normals + from_sh.reshape(light.shape)


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
