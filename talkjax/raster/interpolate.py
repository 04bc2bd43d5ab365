"""Vertex attributes (texture coordinates, normals, colors ...) at every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from talkjax.errors import InputError
from talkjax.numerics import safe_divide
from talkjax.raster.rasterize import gather_face_columns, gather_face_rows
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
    rows, face_id, bary = _flat(attributes, fragments, topology)
    mixed = _mix(rows, face_id, bary, jnp.asarray(topology.faces4))
    mixed = mixed.reshape(*batch, height, width, attributes.shape[-1])
    if isinstance(background, (int, float)) and background == 0:
        return mixed
    return jnp.where((fragments.face_id >= 0)[..., None], mixed, background)


def interpolate_planes(
    attributes: Float[Array, "*b v c"], fragments: Fragments, topology: Topology
) -> list[Float[Array, "*b h w"]]:
    """The channels of `interpolate` one by one, zero on the background; for arithmetic between channels.

    Side by side, three normals of a pixel would be taken apart again at once. Gradients are the same.

    Raises:
      InputError: shapes that do not fit.
    """
    rows, face_id, bary = _flat(attributes, fragments, topology)
    planes = _mix_planes(rows, face_id, bary, jnp.asarray(topology.faces4))
    return [plane.reshape(fragments.face_id.shape) for plane in planes]


def _flat(
    attributes: Float[Array, "*b v c"], fragments: Fragments, topology: Topology
) -> tuple[Float[Array, "n v c"], Int[Array, "m h w"], Float[Array, "m h w 3"]]:
    """The same with one batch axis; n is m, or 1 where the attributes are shared."""
    batch = fragments.face_id.shape[:-2]
    if attributes.shape[:-2] not in (batch, ()) or attributes.shape[-2] != topology.n_verts:
        raise InputError(
            f"attributes have shape {attributes.shape}",
            expected=f"{[*batch, topology.n_verts]} + [c], or [{topology.n_verts}, c] for all of the batch",
            code="bad_shape",
        )
    rows = attributes.reshape(-1, *attributes.shape[-2:])
    face_id = fragments.face_id.reshape(-1, *fragments.face_id.shape[-2:])
    return rows, face_id, fragments.bary.reshape(*face_id.shape, 3)


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


@jax.custom_jvp
def _mix_planes(
    rows: Float[Array, "b v c"],
    face_id: Int[Array, "b h w"],
    bary: Float[Array, "b h w 3"],
    faces4: Int[Array, "f 4"],
) -> list[Float[Array, "b h w"]]:
    weights = jnp.unstack(clamp_bary(bary), axis=-1)
    return [_weighted(weights, corners) for corners in gather_face_columns(rows, face_id, faces4)]


@_mix_planes.defjvp
def _mix_planes_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[list[Array], list[Array]]:
    """The part of the attributes in rows: transposed, those scatter several times faster."""
    rows, face_id, bary, faces4 = primals
    columns = gather_face_columns(rows, face_id, faces4)
    weights, moved = (jnp.unstack(x, axis=-1) for x in (clamp_bary(bary), tangents[2]))
    from_rows = jnp.unstack(_mix(tangents[0], face_id, bary, faces4), axis=-1)
    slopes = [_weighted(moved, corners) + row for corners, row in zip(columns, from_rows, strict=True)]
    return [_weighted(weights, corners) for corners in columns], slopes


def _weighted(weights: Sequence[Float[Array, "*b"]], corners: list[Float[Array, "*b"]]) -> Float[Array, "*b"]:
    return weights[0] * corners[0] + weights[1] * corners[1] + weights[2] * corners[2]


def clamp_bary(bary: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Barycentrics without negative parts, sum 1 (or 0 where all are 0); gradient of the identity."""
    positive = jnp.maximum(bary, 0.0)
    clamped = safe_divide(positive, jnp.sum(positive, axis=-1, keepdims=True))
    return bary + lax.stop_gradient(clamped - bary)
