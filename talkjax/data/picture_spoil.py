"""What a picture of a face has besides it: a background, things in front, a camera's faults. Pure JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.data.face_samples import Draws

_GRID = 6  # coarse color fields of a background
N_PATCHES = 5
N_STROKES = 14


def backgrounds(key: Array, count: int, size: int) -> Float[Array, "n s s 3"]:
    """Colored clouds, gradients, blurred and sharp patches, grain."""
    draws = Draws(key, count, 160)
    base = draws.uniform(1, 1, 3) * draws.uniform(1, 1, 1)
    spread = 0.5 * draws.uniform(1, 1, 1) ** 1.5
    coarse = base + 0.3 + spread * draws.normal(_GRID, _GRID, 3)
    picture = jax.image.resize(coarse, (count, size, size, 3), "linear")
    place, color = draws.uniform(N_PATCHES, 4), draws.uniform(N_PATCHES, 3)
    soft = 0.5 + 0.12 * size * draws.uniform(N_PATCHES) ** 3
    shown = draws.uniform(N_PATCHES) < 0.45
    gray = 0.8 * draws.uniform(1, 1, 1)
    axis = jnp.arange(size) + 0.5
    for k in range(N_PATCHES):
        center, half = place[:, k, :2] * size, 0.05 * size + 0.25 * size * place[:, k, 2:]
        inside = [
            jax.nn.sigmoid((half[:, c, None] - jnp.abs(axis - center[:, c, None])) / soft[:, k, None] * 2)
            for c in (0, 1)
        ]
        mask = (inside[1][:, :, None] * inside[0][:, None, :] * shown[:, k, None, None])[..., None]
        picture = picture + mask * (color[:, k, None, None] - picture)
    picture = picture + gray * (jnp.mean(picture, -1, keepdims=True) - picture)
    return jnp.clip(picture, 0.0, 1.0)


def strokes(
    start: Float[Array, "n k 2"],
    end: Float[Array, "n k 2"],
    radius: Float[Array, "n k"],
    color: Float[Array, "n k 3"],
    shown: Float[Array, "n k"],
    picture: Float[Array, "n s s 3"],
) -> Float[Array, "n s s 3"]:
    """Paints thick lines with round ends (px) one after the other, darker toward their edges."""
    size = picture.shape[1]
    axis = jnp.arange(size) + 0.5
    x, y = axis[None, None, :], axis[None, :, None]

    def paint(k: Array, picture: Array) -> Array:
        a, d = start[:, k], end[:, k] - start[:, k]
        px, py = x - a[:, 0, None, None], y - a[:, 1, None, None]
        dx, dy = d[:, 0, None, None], d[:, 1, None, None]
        along = jnp.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-6), 0.0, 1.0)
        distance = jnp.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2)
        r = radius[:, k, None, None]
        mask = jnp.clip(r - distance + 0.5, 0.0, 1.0) * shown[:, k, None, None]
        shade = 1 - 0.45 * jnp.clip(distance / jnp.maximum(r, 1.0), 0, 1) ** 2
        return picture + mask[..., None] * (color[:, k, None, None] * shade[..., None] - picture)

    return jax.lax.fori_loop(0, start.shape[1], paint, picture)


def occlude(key: Array, picture: Float[Array, "n s s 3"], chance: float = 0.35) -> Float[Array, "n s s 3"]:
    """Something before some of the faces: a hand (palm and fingers), a microphone, strands of hair."""
    count, size = picture.shape[0], picture.shape[1]
    chosen = Draws(key, count, 96)
    kind = (3 * chosen.uniform(1)).astype(int)
    there = chosen.uniform(1) < chance
    center = size * chosen.uniform(1, 2, low=0.05, high=0.95)
    toward = size * jnp.array([0.5, 0.5]) - center
    turn = jnp.arctan2(toward[..., 1], toward[..., 0]) + 0.5 * chosen.normal(1)
    index = jnp.arange(N_STROKES)
    draws = chosen.normal(N_STROKES, 4)
    # hand: strokes 0-1 palm and arm, 2-5 fingers; microphone: 0-1; hair: all, long and thin
    fan = turn + jnp.where(index >= 2, 0.28 * (index - 3.5), 0.0) + jnp.where(index == 1, jnp.pi, 0.0)
    ahead = jnp.stack([jnp.cos(fan), jnp.sin(fan)], -1)
    length = size * jnp.where(index == 0, 0.12, jnp.where(index == 1, 0.7, 0.28)) * (1 + 0.15 * draws[..., 0])
    hand = (center + 0 * ahead, center + ahead * length[..., None])
    hand_radius = size * jnp.where(index < 2, 0.085, 0.034) * (1 + 0.1 * draws[..., 1])
    root = jnp.stack([center[..., 0] + 0.12 * size * draws[..., 0], -2 + 0 * draws[..., 0]], -1)
    hair = (root, root + size * jnp.stack([0.18 * draws[..., 1], 0.45 + 0.2 * draws[..., 2]], -1))
    is_hair = kind == 2
    start, end = (jnp.where(is_hair[..., None], h, o) for h, o in zip(hair, hand, strict=True))
    radius = jnp.where(is_hair, size * 0.003 * (1.2 + jnp.abs(draws[..., 3])), hand_radius)
    used = jnp.where(kind == 0, index < 6, jnp.where(kind == 1, index < 2, True)) & there
    skin = jnp.array([0.75, 0.55, 0.45]) * chosen.uniform(1, 1, low=0.35, high=1.2)
    other = chosen.uniform(1, 3) * 0.6
    color = jnp.where((kind == 0)[..., None], skin, other) * (1 + 0.05 * draws[..., :1])
    return strokes(start, end, radius, jnp.clip(color, 0, 1), used.astype(jnp.float32), picture)


def _blurred(picture: Float[Array, "n s s 3"], taps: Float[Array, "n k"]) -> Float[Array, "n s s 3"]:
    reach = taps.shape[1] - 1
    weights = taps / (taps[:, :1] + 2 * taps[:, 1:].sum(1, keepdims=True))
    for axis in (1, 2):
        out = picture * weights[:, 0, None, None, None]
        for k in range(1, reach + 1):
            pad = [(0, 0)] * 4
            pad[axis] = (k, k)
            wide = jnp.pad(picture, pad, mode="edge")
            n = picture.shape[axis]
            both = jax.lax.slice_in_dim(wide, 0, n, axis=axis) + jax.lax.slice_in_dim(
                wide, 2 * k, 2 * k + n, axis=axis
            )
            out = out + both * weights[:, k, None, None, None]
        picture = out
    return picture


def spoil(key: Array, picture: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    """A camera's faults: soft focus, gain and white balance, a tone curve, grain. JPEG comes with storing."""
    count = picture.shape[0]
    keys = jax.random.split(key, 2)
    draws = Draws(keys[0], count, 16)
    sigma = 0.15 + 1.3 * draws.uniform(1) ** 2.5
    picture = _blurred(picture, jnp.exp(-(jnp.arange(5) ** 2) / (2 * sigma**2)))
    gain = 1 + 0.10 * draws.normal(1, 1, 1) + 0.04 * draws.normal(1, 1, 3)
    power = jnp.exp(0.15 * draws.normal(1, 1, 1))
    picture = jnp.clip(picture * gain, 1e-4, 1.0) ** power
    level = 0.04 * draws.uniform(1, 1, 1) ** 2
    return jnp.clip(picture + level * jax.random.normal(keys[1], picture.shape), 0.0, 1.0)


# ITU-T T.81, annex K: coarseness of the 8 x 8 frequencies at quality 50, brightness and color
_LUMA = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ],
    np.float32,
).reshape(8, 8)
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def _cosines() -> np.ndarray:
    k, x = np.arange(8)[:, None], np.arange(8)[None]
    return np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)


def _coarse(plane: Float[Array, "n h w"], step: Float[Array, "n 8 8"]) -> Float[Array, "n h w"]:
    """Blocks of 8 x 8 with their frequencies rounded to multiples of `step`."""
    n, h, w = plane.shape
    dct = jnp.asarray(_cosines(), jnp.float32)
    blocks = plane.reshape(n, h // 8, 8, w // 8, 8)
    step = step[:, None, :, None, :]
    parts = jnp.einsum("kx,naxby,ly->nakbl", dct, blocks, dct)
    parts = jnp.round(parts / step) * step
    return jnp.einsum("kx,nakbl,ly->naxby", dct, parts, dct).reshape(n, h, w)


def jpeg(key: Array, picture: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    """What storing as JPEG of a random quality, 60 to 95, does: coarse frequencies, color at half the size.

    Any side; parts of blocks are filled with their last pixels.
    """
    n, side = picture.shape[:2]
    pad = (0, -side % 16)
    wide = jnp.pad(picture, ((0, 0), pad, pad, (0, 0)), mode="edge")
    planes = jnp.einsum("nhwc,kc->knhw", 255 * wide, jnp.asarray(_YCC, jnp.float32))
    quality = jax.random.uniform(key, (n, 1, 1), minval=60.0, maxval=95.0)
    tables = [jnp.maximum(jnp.round(t * (2 - quality / 50)), 1.0) for t in (_LUMA, _CHROMA)]
    full = planes.shape[-1]
    light = _coarse(planes[0] - 128, tables[0]) + 128
    small = planes[1:].reshape(2, n, full // 2, 2, full // 2, 2).mean((3, 5))
    color = jnp.stack([_coarse(plane, tables[1]) for plane in small])
    color = jax.image.resize(color, planes[1:].shape, "linear")
    planes = jnp.concatenate([light[None], color])
    back = jnp.asarray(np.linalg.inv(_YCC), jnp.float32)
    rgb = jnp.einsum("knhw,ck->nhwc", planes, back) / 255
    return jnp.clip(rgb[:, :side, :side], 0.0, 1.0)


def to_uint8(picture: Array) -> np.ndarray:
    """[0, 1] -> 0..255, rounded."""
    return np.round(np.asarray(picture) * 255).astype(np.uint8)
