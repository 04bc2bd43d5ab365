"""Vertex attributes (texture coordinates, normals, colors ...) at every pixel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.errors import InputError
from talkjax.numerics import safe_divide
from talkjax.raster.rasterize import gather_face_rows
from talkjax.raster.topology import Topology
from talkjax.types import Fragments


def interpolate(
    attributes: Float[Array, "*b v c"],
    fragments: Fragments,
    topology: Topology,
    *,
    background: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "*b h w c"]:
    """Mix of the three corners' attributes by the fragments' barycentrics, and `background` elsewhere.

    Perspective-correct or linear on screen, as `rasterize` was told. `background` is a number, a color [c] or
    an image [h w c] or [*b h w c]; gradient flows to it. `attributes` has the fragments' leading batch, or
    none and is then shared by it. Where the pixel center lies just outside its triangle (vertices are snapped
    to 1/256 px for visibility) the weights are clamped to the triangle, so that a value never leaves the
    corners' range; the gradient with respect to the barycentrics ignores the clamp.

    Raises:
      InputError: shapes that do not fit.
    """
    batch, (height, width) = fragments.face_id.shape[:-2], fragments.face_id.shape[-2:]
    if attributes.shape[:-2] not in (batch, ()) or attributes.shape[-2] != topology.n_verts:
        raise InputError(
            f"attributes have shape {attributes.shape}",
            expected=f"{[*batch, topology.n_verts]} + [c], or [{topology.n_verts}, c] for all of the batch",
            code="bad_shape",
        )
    rows = attributes.reshape(-1, *attributes.shape[-2:])
    face_id = fragments.face_id.reshape(-1, height, width)
    mixed = _mix(rows, face_id, fragments.bary.reshape(*face_id.shape, 3), jnp.asarray(topology.faces4))
    mixed = mixed.reshape(*batch, height, width, attributes.shape[-1])
    if isinstance(background, (int, float)) and background == 0:
        return mixed
    return jnp.where((fragments.face_id >= 0)[..., None], mixed, background)


@jax.jit
def _mix(
    rows: Float[Array, "b v c"],
    face_id: Int[Array, "b h w"],
    bary: Float[Array, "b h w 3"],
    faces4: Int[Array, "f 4"],
) -> Float[Array, "b h w c"]:
    n_channels = rows.shape[-1]
    # rows of a multiple of four scatter several times faster in the backward pass
    rows = jnp.pad(rows, [(0, 0), (0, 0), (0, -n_channels % 4)])
    corners = gather_face_rows(rows, face_id, faces4)
    weights = clamp_bary(bary)
    mixed = weights[..., 0, None] * corners[0] + weights[..., 1, None] * corners[1]
    return (mixed + weights[..., 2, None] * corners[2])[..., :n_channels]


def clamp_bary(bary: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Barycentrics without negative parts, sum 1 (or 0 where all are 0); gradient of the identity."""
    positive = jnp.maximum(bary, 0.0)
    clamped = safe_divide(positive, jnp.sum(positive, axis=-1, keepdims=True))
    return bary + lax.stop_gradient(clamped - bary)
