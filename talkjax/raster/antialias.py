"""Silhouettes that pull on the shape: pixels at an outline become a mix of its two sides.

Edge-driven: the mesh's own silhouette edges are written into the image. The usual way (Laine et al. 2020,
arXiv 2011.03277) looks for edges only in triangles that won one of two neighboring pixels; at the limb of a
finely meshed surface the triangles that own the outline are slivers that win none, and most of the gradient
is lost.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from talkjax.errors import InputError
from talkjax.raster.segments import differentiable_cross, in_view, to_pixels
from talkjax.raster.silhouette import Found, Frame, silhouette
from talkjax.raster.snap import HALF_PIXEL, ONE_PIXEL
from talkjax.raster.topology import Topology
from talkjax.types import Fragments

_MOST = 0.5 - 5e-7
"""A pair mixes less than half: the two pairs of a row then mix less than all, whatever the rounding."""


def antialias(
    color: Float[Array, "*b h w c"],
    verts_clip: Float[Array, "*b v 4"],
    fragments: Fragments,
    topology: Topology,
    *,
    cull: bool = False,
) -> Float[Array, "*b h w c"]:
    """`color` with the pixels at visible silhouettes mixed by how much of each the surface covers.

    Args:
      color: any per-pixel values (colors, a mask ...); a mix stays within the range of what is mixed.
      verts_clip, fragments, topology, cull: what `rasterize` was given and returned.

    Where a silhouette edge (one between a front and a back face, or a border) passes between the centers of
    two neighbors in a row or column, and is nearer than what the outer one shows, the pixel in which it lies
    gets the other one's color in proportion to the length it cuts off. Gradients: to `color`, and through
    that length to the edge's two vertices (x, y, w). What is seen, and which edge counts where, has no
    gradient. See docs/raster.md for what this does not see.

    Raises:
      InputError: shapes that do not fit.
    """
    batch, image = fragments.face_id.shape[:-2], fragments.face_id.shape[-2:]
    if color.shape[:-1] != (*batch, *image) or verts_clip.shape != (*batch, topology.n_verts, 4):
        raise InputError(
            f"color has shape {color.shape}, verts_clip {verts_clip.shape}",
            expected=f"{[*batch, *image]} + [c] and {[*batch, topology.n_verts, 4]}",
            code="bad_shape",
        )
    if topology.n_faces == 0:
        return color
    verts = verts_clip.astype(jnp.float32).reshape(-1, topology.n_verts, 4)
    depth = lax.stop_gradient(fragments.depth).reshape(-1, *image)
    seen = Frame(lax.stop_gradient(verts), depth, fragments.face_id.reshape(-1, *image))
    mixed = _antialias(color.reshape(-1, *image, color.shape[-1]), verts, seen, topology, cull)
    return mixed.reshape(color.shape)


@functools.partial(jax.jit, static_argnames="cull")
def _antialias(
    color: Float[Array, "b h w c"], verts: Float[Array, "b v 4"], seen: Frame, topology: Topology, cull: bool
) -> Float[Array, "b h w c"]:
    height, width = color.shape[1:3]
    faces4, edges = jnp.asarray(topology.faces4), topology.edges
    edge_verts = jnp.asarray(edges.verts)
    # An outline is about as long as the image's border. The rare picture that has more takes the long way:
    # one entry per pixel pair.
    capacity = min(4 * (height + width), 2 * height * width)
    found = silhouette(capacity, cull)(seen, faces4, edges)

    @jax.checkpoint
    def listed(color: Array, verts: Array) -> Array:
        return _mix(color, verts, found, edge_verts)

    @jax.checkpoint
    def everywhere(color: Array, verts: Array) -> Array:
        return _mix(color, verts, found.everywhere(), edge_verts)

    return lax.cond(_for_all(jnp.all(found.complete)), listed, everywhere, color, verts)


@jax.custom_batching.custom_vmap
def _for_all(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """The flag; under vmap, whether it is true for all, so that a branch stays a branch."""
    return flag


@_for_all.def_vmap
def _(axis_size, in_batched, flag):  # type: ignore[no-untyped-def]
    return _for_all(jnp.all(flag)), False


def _mix(
    color: Float[Array, "b h w c"], verts: Float[Array, "b v 4"], found: Found, edge_verts: Int[Array, "e 2"]
) -> Float[Array, "b h w c"]:
    """Mixes the two pixels of each listed pair: rows first, then columns on the result.

    So every pixel is twice a mix of three, with weights of 1 at most in all: nothing leaves the range, and
    the coverage of a rectangle comes out as width times height.
    """
    n_batch, height, width, _ = color.shape
    n_pixels = height * width
    frame = jnp.arange(n_batch, dtype=jnp.int32)[:, None]
    used = (found.edge >= 0).reshape(-1)
    ends = edge_verts[jnp.maximum(found.edge, 0) >> 1] + frame[..., None] * verts.shape[1]
    ends, beyond = ends.reshape(-1, 2), (found.edge & 1).reshape(-1) == 1
    rows = verts.reshape(-1, 4)
    # unused entries may point to a vertex that is NaN
    a, b = (jnp.where(used[:, None], rows[ends[:, i]], 1.0) for i in range(2))
    a, b, _ = in_view(a, b)
    is_column = (found.pair >= n_pixels).reshape(-1)
    pixel = (found.pair % n_pixels).reshape(-1)
    line = jnp.where(is_column, pixel % width, pixel // width)
    before = jnp.where(is_column, pixel // width, pixel % width)
    across = differentiable_cross(
        to_pixels(a, height, width), to_pixels(b, height, width), line.astype(jnp.float32)
    )
    offset = (across - HALF_PIXEL) / ONE_PIXEL - before
    share = jnp.where(beyond, 0.5 - offset, offset - 0.5)  # how far the surface reaches into the outer pixel
    share = share + lax.stop_gradient(jnp.clip(share, -_MOST, _MOST) - share)
    grows = share > 0

    first = pixel + (jnp.broadcast_to(frame, found.pair.shape) * n_pixels).reshape(-1)
    # A sum of which the compiler does not know that it changes nothing: the copy that is written into.
    # Without it XLA on CPU copies the image twice, into this branch and out of it.
    nothing = lax.stop_gradient(jnp.minimum(found.pair.reshape(-1)[0], 0).astype(color.dtype))
    flat = color.reshape(-1, color.shape[-1]) + nothing
    for step, chosen in ((1, used & ~is_column), (width, used & is_column)):
        second = jnp.where(chosen, first + step, first)
        inside, outside = jnp.where(beyond, second, first), jnp.where(beyond, first, second)
        target = jnp.where(chosen, jnp.where(grows, outside, inside), flat.shape[0])
        change = jnp.where(chosen, share, 0.0)[:, None] * (flat[inside] - flat[outside])
        flat = flat.at[target].add(change, mode="drop")
    return flat.reshape(color.shape)
