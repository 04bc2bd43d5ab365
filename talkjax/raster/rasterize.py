"""Triangles in, fragments out: who is seen at each pixel and where on that triangle.

Visibility is integer and has no gradient; barycentrics and depth are recomputed from the visible triangle in
plain JAX, so autodiff (forward, reverse, higher order) just works. Silhouettes carry no gradient here.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt

from talkjax.errors import InputError
from talkjax.raster.topology import Topology
from talkjax.raster.visibility import choose, visibility
from talkjax.types import Fragments

MAX_SIDE = 16384
"""Largest image side, px: two window sides share 32 bits."""
BACKGROUND_DEPTH = 1.0
"""NDC depth of a pixel that shows no triangle: the far plane."""
_MIN_AREA_PX = 1e-9
"""Below this twice-area (px^2) a triangle has no usable barycentrics: its center is taken, with zero
gradient."""


def rasterize(
    verts_clip: Float[Array, "*b v 4"],
    topology: Topology,
    height: int,
    width: int,
    *,
    cull: bool = False,
    perspective: bool = True,
    backend: str = "auto",
) -> Fragments:
    """The visible triangle, barycentrics and NDC depth of every pixel.

    Args:
      verts_clip: homogeneous clip coordinates (docs/raster.md); any leading batch.
      topology: triangles, shared by the batch.
      height, width: image size, px; static.
      cull: drop triangles seen from behind (clockwise with y up).
      perspective: barycentrics mix the corners as they lie in space; False: as they lie on the image (linear
        on screen), except for triangles with a corner behind the eye, for which that does not exist.
      backend: how visibility is computed: "auto" (by `jax.default_backend()`), "loops" (best on CPU),
        "static" (best on GPU), "pallas" (TPU; elsewhere interpreted, slow) or "mosaic" (the same, never
        interpreted: to lower for a TPU where there is none). All give the same ids.

    Triangles with a vertex that is NaN, infinite, beyond 1e9 or at the eye are not drawn; the others are not
    affected. Those that cross the near plane are cut there. Equal depth: the lowest face index wins.
    Background: face_id -1, bary 0, depth 1, no gradient. Gradients: bary and depth with respect to
    verts_clip.

    Raises:
      InputError: shapes that do not fit, an unknown backend.
    """
    if verts_clip.shape[-2:] != (topology.n_verts, 4):
        raise InputError(
            f"verts_clip has shape {verts_clip.shape}",
            expected=f"[*b, {topology.n_verts}, 4]",
            code="bad_shape",
        )
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise InputError(
            f"image of {height} x {width} pixels", expected=f"sides of 1 to {MAX_SIDE}", code="bad_shape"
        )
    batch = verts_clip.shape[:-2]
    faces4 = jnp.asarray(topology.faces4)
    flat = verts_clip.astype(jnp.float32).reshape(-1, topology.n_verts, 4)
    see = visibility(height, width, cull, choose(backend))
    face_id = see(lax.stop_gradient(flat), faces4)
    bary, depth = locate(flat, face_id, faces4, perspective)
    shape = (*batch, height, width)
    return Fragments(face_id=face_id.reshape(shape), bary=bary.reshape(*shape, 3), depth=depth.reshape(shape))


@partial(jax.jit, static_argnums=3)
def locate(
    verts_clip: Float[Array, "b v 4"],
    face_id: Int[Array, "b h w"],
    faces4: Int[Array, "f 4"],
    perspective: bool = True,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w"]]:
    """Barycentrics and depth of each pixel's center on its given triangle; zeros and 1 on the background.

    Homogeneous form: with corners (x_i, y_i, w_i) and a pixel at (px, py) in NDC, the perspective-correct
    weights are the 2 x 2 minors of (x_i - px w_i, y_i - py w_i), normalized to sum 1. No division by w.
    """
    _, height, width = face_id.shape
    seen = face_id >= 0
    corner_x, corner_y, corner_z, corner_w = gather_face_columns(verts_clip, face_id, faces4)
    pixel_x = ((2 * jnp.arange(width) + 1) / width - 1).astype(jnp.float32)[None, None, :]
    pixel_y = (1 - (2 * jnp.arange(height) + 1) / height).astype(jnp.float32)[None, :, None]
    x = [c - pixel_x * w for c, w in zip(corner_x, corner_w, strict=True)]
    y = [c - pixel_y * w for c, w in zip(corner_y, corner_w, strict=True)]
    minors = [x[1] * y[2] - y[1] * x[2], x[2] * y[0] - y[2] * x[0], x[0] * y[1] - y[0] * x[1]]
    total = minors[0] + minors[1] + minors[2]
    # total = 2 area_ndc * w0 w1 w2; area_px = area_ndc * width * height / 4
    threshold = (4 * _MIN_AREA_PX / (width * height)) * corner_w[0] * corner_w[1] * corner_w[2]
    usable = seen & (jnp.abs(total) > jnp.abs(threshold))
    # finite also where unused, or the gradient there is NaN
    shares = _shares(minors, jnp.where(usable, total, 1.0))
    fallback = jnp.where(seen, 1.0 / 3.0, 0.0)
    bary = [jnp.where(usable, share, fallback) for share in shares]
    z = sum(b * c for b, c in zip(bary, corner_z, strict=True))
    w = bary[0] * corner_w[0] + bary[1] * corner_w[1] + bary[2] * corner_w[2]
    depth = jnp.where(seen, z / jnp.where(seen & (w != 0), w, 1.0), BACKGROUND_DEPTH)
    if not perspective:
        bary = _screen_linear(bary, corner_w, w)
    return jnp.stack(bary, axis=-1), depth


@jax.custom_jvp
def _shares(parts: list[Array], total: Array) -> list[Array]:
    inverse = 1.0 / total
    return [part * inverse for part in parts]


@_shares.defjvp
def _shares_jvp(
    primals: tuple[list[Array], Array], tangents: tuple[list[Array], Array]
) -> tuple[list[Array], list[Array]]:
    """Quotients on purpose: they are what XLA on CPU computes once for all that read it. What comes back from
    a picture passes here, and would otherwise be computed again, whole, for each of nine scatters."""
    parts, total = primals
    shares, slope = _shares(parts, total), tangents[1] / total
    return shares, [d / total - share * slope for d, share in zip(tangents[0], shares, strict=True)]


def _screen_linear(bary: list[Array], corner_w: list[Array], w: Array) -> list[Array]:
    """Weights that are linear on the image: corner i counts by the share of w that it gives. A corner behind
    the eye has no place on the image: such triangles keep their weights."""
    ahead = (corner_w[0] > 0) & (corner_w[1] > 0) & (corner_w[2] > 0) & (w > 0)
    inverse = 1.0 / jnp.where(ahead, w, 1.0)
    return [jnp.where(ahead, b * c * inverse, b) for b, c in zip(bary, corner_w, strict=True)]


def corner_index(
    face_id: Int[Array, "b h w"], faces4: Int[Array, "f 4"], n_batch: int, n_verts: int
) -> list[UInt[Array, "b h w"]]:
    """Where each pixel's three corners stand in the vertices of all `n_batch` frames, one after the other;
    beyond the last for the background: reads of it are filled with zeros, additions to it are left out."""
    face, seen = jnp.maximum(face_id, 0), face_id >= 0
    offset = n_verts * jnp.arange(n_batch, dtype=jnp.int32)[:, None, None] if n_batch > 1 else 0
    corners = [faces4[:, i].at[face].get(mode="promise_in_bounds") + offset for i in range(3)]
    # unsigned: JAX then does not look for indices that count from the end
    return [jnp.where(seen, corner, n_verts * n_batch).astype(jnp.uint32) for corner in corners]


def gather_face_rows(
    rows: Float[Array, "b v c"], face_id: Int[Array, "b h w"], faces4: Int[Array, "f 4"]
) -> list[Float[Array, "b h w c"]]:
    """The rows of each pixel's three corners; zero on the background. `rows` may have batch 1, shared by
    all."""
    n_batch, n_verts, n_channels = rows.shape
    if faces4.shape[0] == 0:
        return [jnp.zeros((*face_id.shape, n_channels), rows.dtype)] * 3
    table = rows.reshape(-1, n_channels)
    return [
        table.at[index].get(mode="fill", fill_value=0)
        for index in corner_index(face_id, faces4, n_batch, n_verts)
    ]


def gather_face_columns(
    rows: Float[Array, "b v c"], face_id: Int[Array, "b h w"], faces4: Int[Array, "f 4"]
) -> list[list[Float[Array, "b h w"]]]:
    """The same, column by column: `result[channel][corner]`.

    For arithmetic between columns. In the backward pass, rows would be put together from zero-padded parts,
    which costs XLA on CPU four times as much as scattering the columns one by one.
    """
    n_batch, n_verts, n_channels = rows.shape
    if faces4.shape[0] == 0:
        return [[jnp.zeros(face_id.shape, rows.dtype)] * 3] * n_channels
    table = rows.reshape(-1, n_channels)
    index = corner_index(face_id, faces4, n_batch, n_verts)
    return [[table[:, c].at[i].get(mode="fill", fill_value=0) for i in index] for c in range(n_channels)]
