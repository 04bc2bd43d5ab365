"""The 257-vector of the reference, used on disk only; everywhere else `FaceCoeffs`.

Layout (reference.md §2.5): id 80, exp 64, tex 80, euler 3, sh 27 (channel-major 3 x 9), translation 3.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.types import FaceCoeffs, Pose

N_ID, N_EXP, N_TEX = 80, 64, 80
SIZE = N_ID + N_EXP + N_TEX + 3 + 27 + 3


def _pad(values: Float[Array, "*b n"], size: int, name: str) -> Float[Array, "*b m"]:
    if values.shape[-1] > size:
        raise ValueError(f"{name} has {values.shape[-1]} entries, the packed vector has room for {size}")
    return jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])])


def pack(coeffs: FaceCoeffs) -> Float[Array, "*b 257"]:
    """One vector per frame; smaller spaces (43 expressions) are padded with zeros.

    Raises:
      ValueError: a coefficient space is larger than the reference's.
    """
    light = coeffs.sh_coeffs.reshape(*coeffs.sh_coeffs.shape[:-2], 27)
    parts = [
        _pad(coeffs.id_coeffs, N_ID, "id_coeffs"),
        _pad(coeffs.exp_coeffs, N_EXP, "exp_coeffs"),
        _pad(coeffs.tex_coeffs, N_TEX, "tex_coeffs"),
        coeffs.pose.euler,
        light,
        coeffs.pose.translation,
    ]
    return jnp.concatenate(parts, axis=-1)


def unpack(
    vector: Float[Array, "*b 257"], *, n_id: int = N_ID, n_exp: int = N_EXP, n_tex: int = N_TEX
) -> FaceCoeffs:
    """The inverse of `pack`; the sizes drop the padding that a smaller space got.

    Raises:
      ValueError: the last axis is not 257.
    """
    if vector.shape[-1] != SIZE:
        raise ValueError(f"a packed coefficient vector has {SIZE} entries, got {vector.shape[-1]}")
    exp_start, tex_start, rest = N_ID, N_ID + N_EXP, N_ID + N_EXP + N_TEX
    return FaceCoeffs(
        id_coeffs=vector[..., :n_id],
        exp_coeffs=vector[..., exp_start : exp_start + n_exp],
        tex_coeffs=vector[..., tex_start : tex_start + n_tex],
        pose=Pose(euler=vector[..., rest : rest + 3], translation=vector[..., rest + 30 : rest + 33]),
        sh_coeffs=vector[..., rest + 3 : rest + 30].reshape(*vector.shape[:-1], 3, 9),
    )
