"""Edges on the screen: the part of each that is in view, and where it crosses lines of pixel centers.

Unit: a tick, 1/256 px, from the image's top left corner. Ends are rounded to whole ticks exactly as the
rasterizer rounds vertices, so that crossings and coverage tell the same story; float32 holds ticks exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from talkjax.raster.snap import HALF_PIXEL, ONE_PIXEL

_REACH = 16.0
"""An end further out than this many half images from the center is moved along the edge to there."""
_MIN_W = 1e-6


class Segment(NamedTuple):
    """The visible part of an edge, ticks, to be cut by rows of pixel centers (`by_rows`) or by columns:
    `along` is y for rows, else x; `across` is the other."""

    along: tuple[Float[Array, "n"], Float[Array, "n"]]
    across: tuple[Float[Array, "n"], Float[Array, "n"]]
    depth: tuple[Float[Array, "n"], Float[Array, "n"]]
    by_rows: Bool[Array, "n"]


class Pixels(NamedTuple):
    """Ends in ticks, exact (differentiable) and rounded, and their NDC depth."""

    exact: tuple[Array, Array]
    rounded: tuple[Array, Array]
    depth: Array


def in_view(
    a: Float[Array, "n 4"], b: Float[Array, "n 4"]
) -> tuple[Float[Array, "n 4"], Float[Array, "n 4"], Bool[Array, "n"]]:
    """The ends (clip space) of what lies in front of the near plane and not too far out; and if there is any.

    Where an end is moved, the fraction of the edge has no gradient; sliding along the edge does not change
    it.
    """
    sa, sb = lax.stop_gradient(a), lax.stop_gradient(b)

    def distances(p: Array) -> Array:
        x, y, z, w = p[:, 0], p[:, 1], p[:, 2], p[:, 3]
        return jnp.stack([z + w, w - _MIN_W, _REACH * w - x, _REACH * w + x, _REACH * w - y, _REACH * w + y])

    da, db = distances(sa), distances(sb)
    step = jnp.where(da == db, 1.0, da - db)
    from_a = jnp.max(jnp.where((da < 0) & (db > da), da / step, 0.0), axis=0)
    from_b = jnp.max(jnp.where((db < 0) & (da > db), -db / step, 0.0), axis=0)
    visible = ((da >= 0) | (db >= 0)).all(axis=0) & (from_a + from_b < 1)
    # an end in view stays bit for bit
    moved_a = jnp.where((from_a > 0)[:, None], a + from_a[:, None] * (b - a), a)
    moved_b = jnp.where((from_b > 0)[:, None], b + from_b[:, None] * (a - b), b)
    return moved_a, moved_b, visible


def to_pixels(points: Float[Array, "n 4"], height: int, width: int) -> Pixels:
    """Ticks of clip-space points in view; the rounding is `snap.snap_verts`'s."""
    w = points[:, 3]
    x, y = (points[:, 0] / w) * (HALF_PIXEL * width), (-points[:, 1] / w) * (HALF_PIXEL * height)
    middle = float(HALF_PIXEL * width), float(HALF_PIXEL * height)
    rounded = jnp.rint(lax.stop_gradient(x)) + middle[0], jnp.rint(lax.stop_gradient(y)) + middle[1]
    return Pixels((x + middle[0], y + middle[1]), rounded, points[:, 2] / w)


def segment(a: Pixels, b: Pixels, by_rows: Bool[Array, "n"]) -> Segment:
    """The segment between rounded ends; no gradient."""
    (ax, ay), (bx, by) = a.rounded, b.rounded
    return Segment(
        along=(jnp.where(by_rows, ay, ax), jnp.where(by_rows, by, bx)),
        across=(jnp.where(by_rows, ax, ay), jnp.where(by_rows, bx, by)),
        depth=(lax.stop_gradient(a.depth), lax.stop_gradient(b.depth)),
        by_rows=by_rows,
    )


def is_steep(a: Pixels, b: Pixels) -> Bool[Array, "n"]:
    """Whether the segment is at least as tall as wide."""
    return jnp.abs(b.rounded[1] - a.rounded[1]) >= jnp.abs(b.rounded[0] - a.rounded[0])


def lines_crossed(s: Segment, n_rows: int, n_columns: int) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """The first row (column) of pixel centers crossed, and one past the last; none if they are equal.

    A center at the segment's lower end counts, one at its upper end does not: where two edges meet on a
    center, one of them has it, as with coverage.
    """
    count = jnp.where(s.by_rows, n_rows, n_columns).astype(jnp.float32)
    first = jnp.ceil((jnp.minimum(*s.along) - HALF_PIXEL) / ONE_PIXEL)
    end = jnp.ceil((jnp.maximum(*s.along) - HALF_PIXEL) / ONE_PIXEL)
    first = jnp.clip(first, 0.0, count)
    return first, jnp.clip(end, first, count)


def cross(s: Segment, line: Float[Array, "n"]) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Where `s` crosses row (column) number `line`: ticks across, and the fraction of the way."""
    length = s.along[1] - s.along[0]
    length = jnp.where(length == 0, 1.0, length)
    way = line * ONE_PIXEL + HALF_PIXEL - s.along[0]
    # product first: exact for edges of up to 16 px, so that corners on pixel centers are met exactly
    return s.across[0] + way * (s.across[1] - s.across[0]) / length, way / length


def differentiable_cross(a: Pixels, b: Pixels, line: Float[Array, "n"]) -> Float[Array, "n"]:
    """As `cross`, ticks across, by rows if steep, else by columns; of the exact ends and with their gradient.

    The fraction of the way is that of the rounded segment, corrected to first order. So there is no division
    by a length that may vanish, and no gradient beyond 2.
    """
    steep = is_steep(a, b)
    rounded = segment(a, b, steep)
    _, t = cross(rounded, line)
    length = rounded.along[1] - rounded.along[0]
    length = jnp.where(length == 0, 1.0, length)

    def pick(p: Pixels, along: bool) -> Array:
        return jnp.where(steep == along, p.exact[1], p.exact[0])

    shift_a, shift_b = pick(a, True) - rounded.along[0], pick(b, True) - rounded.along[1]
    t = t - ((1 - t) * shift_a + t * shift_b) / length
    across_a, across_b = pick(a, False), pick(b, False)
    return across_a + t * (across_b - across_a)
