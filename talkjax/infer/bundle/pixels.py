"""Layers over the background and the paste into the whole picture: `compose` and `track/crop` in jnp."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from talkjax.infer.bundle import resample
from talkjax.infer.bundle.layout import BundleConfig
from talkjax.infer.compose import FEATHER, GRID, WARP_REACH, WARP_SMOOTH, crop_ramp
from talkjax.raster.texture import sample_texture

AGREE_PX = 0.3
"""Outlines that differ by less are left alone; see `compose.warp_background`."""


def to_bytes(image: Float[Array, "*b"]) -> UInt8[Array, "*b"]:
    """[0, 1] to uint8, rounded."""
    return jnp.clip(image * 255 + 0.5, 0, 255).astype(jnp.uint8)


def _rounded(image: Float[Array, "*b"]) -> Float[Array, "*b"]:
    return jnp.clip(jnp.round(image), 0, 255)


def _positions(n: int, scale: Array, center: Array, size: int) -> Float[Array, "n"]:
    """Image position of each of `n` crop pixels along one axis; see `crop._affine`."""
    offset = size / 2 - scale * center + 0.5 * scale - 0.5
    return (jnp.arange(n) - offset) / scale


def cut(frame: UInt8[Array, "h w 3"], center: Array, side: Array, size: int, fine: int) -> Array:
    """`crop.cut` as float32 in 0..255, whole numbers; averages of 2 x 2 where `fine` is 2 `size`."""
    scale = fine / side
    at = [_positions(fine, scale, center[axis], fine) for axis in (1, 0)]
    crop = _rounded(resample.scaled(frame, *at))
    return crop if fine == size else _rounded(crop.reshape(size, 2, size, 2, 3).mean((1, 3)))


def face_alpha(region: Int[Array, "s s"]) -> Float[Array, "s s"]:
    """`compose.face_alpha`."""
    mask, reach = region >= 0, max(2, round(region.shape[0] * FEATHER))
    inner = resample.erode_ellipse(mask, reach).astype(jnp.float32)
    return resample.gaussian(inner[..., None], reach / 2.5)[..., 0] * mask


def warp_background(
    crop: Float[Array, "s s 3"], new: Float[Array, "36 2"], old: Float[Array, "36 2"]
) -> tuple[Array, Array]:
    """`compose.warp_background` of a crop in 0..255: (warped or the same, whether it moved)."""
    move, size = new - old, crop.shape[0]
    line = ((np.arange(GRID) + 0.5) * size / GRID).astype(np.float32)
    gx, gy = np.meshgrid(line, line)
    cells = np.stack([gx, gy], -1).reshape(-1, 2)
    squared = ((cells[:, None] - new[None]) ** 2).sum(-1)
    weight = jnp.exp(-squared / (2 * (WARP_SMOOTH * size) ** 2)) + 1e-12
    field = jnp.matmul(weight, move, precision=jax.lax.Precision.HIGHEST) / weight.sum(1, keepdims=True)
    outside = resample.polygon_distance(jnp.asarray(cells), new)
    field = field * jnp.exp(-((outside / (WARP_REACH * size)) ** 2))[:, None]
    dense = resample.resized(field.reshape(GRID, GRID, 2), size, "cubic")
    base = jnp.arange(size, dtype=jnp.float32)
    warped = resample.remap_cubic(crop, base[None, :] - dense[..., 0], base[:, None] - dense[..., 1])
    moved = jnp.abs(move).max() >= AGREE_PX
    return jnp.where(moved, _rounded(warped), crop), moved


def layers_program(config: BundleConfig) -> Any:
    """(inputs) -> outputs, each with a leading batch.

    Inputs: what `shape` gives, and frame `[b h w 3]` uint8, the background. Outputs: lit `[b s s 9]` in [0,
    1] (mean, many, one; zero off the face); background `[b s s 3]` uint8; alpha `[b s s]`; moved `[b]`.

    They are put over each other in the next program: in this one, XLA on CPU would do the warp again for
    each.
    """

    def one(row: dict[str, Array]) -> dict[str, Array]:
        region = row["region"]
        lit = sample_texture(row["texture"], row["uv"]) * jnp.tile(row["light"], (1, 1, 3))
        crop = cut(row["frame"], row["center"], row["side"], config.crop_size, config.fine)
        background, moved = warp_background(crop, row["new"], row["old"])
        return {
            "lit": jnp.where(region[..., None] >= 0, jnp.clip(lit, 0.0, 1.0), 0.0),
            "background": background.astype(jnp.uint8),
            "alpha": face_alpha(region),
            "moved": moved,
        }

    def layers(inputs: dict[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
        return {}, jax.vmap(one)(inputs)

    return layers


def composites(inputs: dict[str, Any]) -> dict[str, UInt8[Array, "b s s 3"]]:
    """bare, many and one over the background, from what `layers` gives."""
    behind, alpha = inputs["background"] / 255.0, inputs["alpha"][..., None]
    images = [behind + alpha * (inputs["lit"][..., k : k + 3] - behind) for k in (0, 3, 6)]
    return dict(zip(("bare", "many", "one"), map(to_bytes, images), strict=True))


def paste_program(config: BundleConfig) -> Any:
    """(inputs) -> outputs: face `[b s s 3]` in [0, 1] into frame `[b h w 3]` uint8 -> picture, the same
    shape.

    Where the background around the face was warped, the whole crop goes back, faded at its border. Further
    inputs: background, alpha, moved of `layers`, center and side of `shape`.
    """
    size, ramp = config.crop_size, jnp.asarray(crop_ramp(config.crop_size), jnp.float32)
    rows, columns = min(config.paste_size, config.height), min(config.paste_size, config.width)

    def one(row: dict[str, Array]) -> Array:
        behind, face, alpha, moved = row["background"] / 255.0, row["face"], row["alpha"], row["moved"]
        picture = jnp.where(moved, behind + alpha[..., None] * (face - behind), face) * 255
        weight = jnp.where(moved, jnp.outer(ramp, ramp), alpha)
        corner = jnp.floor(row["center"] - row["side"] / 2).astype(jnp.int32)
        x = jnp.clip(corner[0], 0, config.width - columns)
        y = jnp.clip(corner[1], 0, config.height - rows)
        scale = size / row["side"]
        offset = [size / 2 - scale * row["center"][k] + 0.5 * scale - 0.5 for k in (0, 1)]
        at_y = scale * (y + jnp.arange(rows)) + offset[1]
        at_x = scale * (x + jnp.arange(columns)) + offset[0]
        layer = jnp.concatenate([picture, weight[..., None]], -1)
        layer = resample.scaled(layer, at_y, at_x, cubic=True, zero_outside=True)
        mix = jnp.clip(layer[..., 3:], 0, 1)
        patch = jax.lax.dynamic_slice(row["frame"], (y, x, 0), (rows, columns, 3)).astype(jnp.float32)
        mixed = jnp.clip(patch + mix * (layer[..., :3] - patch) + 0.5, 0, 255).astype(jnp.uint8)
        return jax.lax.dynamic_update_slice(row["frame"], mixed, (y, x, jnp.int32(0)))

    def paste(inputs: dict[str, Any]) -> tuple[dict[str, Array], dict[str, Array]]:
        return {}, {"picture": jax.vmap(one)(inputs)}

    return paste
