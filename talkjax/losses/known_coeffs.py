"""How far predicted face coefficients are from known ones, in terms that mean something: shape, turn, light.

A model is linear, so the mean squared distance of its vertices is a quadratic form of the coefficients'
difference, and vertices need not be touched.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.face.lighting import irradiance
from talkjax.face.pose import rotation
from talkjax.numerics import einsum

_N_NORMALS = 64
TURN_FLOOR = 0.01


def vertex_form(basis: Float[np.ndarray, "k v 3"]) -> Float[np.ndarray, "k k"]:
    """The form whose value at a difference of coefficients is the mean squared displacement (unit^2)."""
    flat = np.asarray(basis, np.float64).reshape(len(basis), -1)
    return (flat @ flat.T / basis.shape[1]).astype(np.float32)


def squared_distance(form: Float[Array, "k k"], difference: Float[Array, "b k"]) -> Float[Array, "b"]:
    """Mean over vertices of the squared distance, for each row."""
    return einsum("bk,kl,bl->b", difference, form, difference)


def turn(euler: Float[Array, "b 3"], known: Float[Array, "b 3"]) -> Float[Array, "b"]:
    """About the angle between two head poses, radians: 2 sin(angle / 2), rounded off below `TURN_FLOOR`.

    Not squared: what is measured is the mean angle, and squares hardly pull once it is a few degrees.
    """
    difference = rotation(euler) - rotation(known)
    squared = 0.5 * jnp.sum(difference * difference, axis=(-1, -2))
    return jnp.sqrt(squared + TURN_FLOOR**2) - TURN_FLOOR


def _front_normals() -> np.ndarray:
    """Unit normals spread evenly over the half that looks at the camera (a spiral)."""
    k = np.arange(_N_NORMALS) + 0.5
    z, angle = 1 - k / _N_NORMALS, np.pi * (1 + np.sqrt(5)) * k
    side = np.sqrt(1 - z * z)
    return np.stack([side * np.cos(angle), side * np.sin(angle), z], -1).astype(np.float32)


def light_error(sh: Float[Array, "b 3 9"], known: Float[Array, "b 3 9"]) -> Float[Array, "b"]:
    """Mean squared difference of the light on surfaces that face the camera."""
    normals = jnp.broadcast_to(jnp.asarray(_front_normals()), (sh.shape[0], _N_NORMALS, 3))
    difference = irradiance(normals, sh) - irradiance(normals, known)
    return jnp.mean(difference**2, axis=(-1, -2))
