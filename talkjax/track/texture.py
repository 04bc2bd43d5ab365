"""UV texture of a person: unwrap each training frame, part colour into albedo and light, keep both.

Every frame gives one colour per texel where the texel is seen; nine spherical-harmonic coefficients per
channel and frame explain how the light on the (turning) face differs from the shared albedo. What the light
does not explain stays in the per-frame albedo: those textures are what the refiner retrieves mouths from.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import ndimage

from talkjax.face import mesh468
from talkjax.face.lighting import AMBIENT, sh_basis
from talkjax.face.render import FaceRenderer
from talkjax.numerics import normalize
from talkjax.raster.camera import project, to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.raster.topology import Topology
from talkjax.types import EYES, MOUTH, SKIN, Camera, FaceModel

DEPTH_SLACK = 0.035  # dm behind the nearest surface that still counts as seen
MIN_COSINE = 0.15
MIN_STRIP = 0.08  # weight (before squaring) of a closed mouth or eye: little, but told from unseen
FILL_TEXELS = 8.0  # how far colours are carried over the texture's border
ALBEDO_SCALE = 180.0  # uint8 per unit of albedo; leaves room above 1 for highlights


class Texels(NamedTuple):
    """Where each of the `n` used texels of a `size` x `size` texture lies on the mesh."""

    size: int
    used: np.ndarray  # [n] flat texel numbers
    verts: np.ndarray  # [n 3] vertex numbers
    bary: np.ndarray  # [n 3]
    region: np.ndarray  # [n] SKIN, MOUTH, EYES
    fill: np.ndarray  # [size * size] which used texel colours each texel

    def image(self, values: np.ndarray) -> np.ndarray:
        """Texture image `[size size c]` of per-texel values `[n c]`, borders filled with the nearest."""
        return values[self.fill].reshape(self.size, self.size, -1)


def texels_of(model: FaceModel, size: int) -> Texels:
    """Rasterizes the triangles in uv space. Overlaps go to the lowest triangle: skin before strips."""
    uvs = np.asarray(model.uvs)
    faces = np.asarray(model.faces)
    flat = np.c_[2 * uvs[:, 0] - 1, 1 - 2 * uvs[:, 1], np.zeros(len(uvs)), np.ones(len(uvs))]
    fragments = rasterize(jnp.asarray(flat, jnp.float32), Topology.from_faces(faces, len(uvs)), size, size)
    face_id = np.asarray(fragments.face_id).reshape(-1)
    index = np.flatnonzero(face_id >= 0)
    owner = face_id[index]
    distance, nearest = ndimage.distance_transform_edt((face_id < 0).reshape(size, size), return_indices=True)
    order = np.zeros(size * size, np.int32)
    order[index] = np.arange(len(index))
    fill = order[(nearest[0] * size + nearest[1]).reshape(-1)]
    fill = np.where(distance.reshape(-1) <= FILL_TEXELS, fill, 0).astype(np.int32)
    return Texels(
        size=size,
        used=index,
        verts=faces[owner],
        bary=np.asarray(fragments.bary).reshape(-1, 3)[index],
        region=np.asarray(model.face_region)[owner],
        fill=fill,
    )


def _opening(verts: Float[Array, "v 3"], upper: int, lower: int) -> Float[Array, ""]:
    """Distance of two opposite points over the outer-eye distance."""
    eyes = jnp.linalg.norm(verts[mesh468.LEFT_EYE_OUTER] - verts[mesh468.RIGHT_EYE_OUTER])
    return jnp.linalg.norm(verts[upper] - verts[lower]) / eyes


@partial(jax.jit, static_argnames=("renderer",))
def _unwrap(
    renderer: FaceRenderer,
    verts: Int[Array, "n 3"],
    bary: Float[Array, "n 3"],
    region: Int[Array, "n"],
    crop: Float[Array, "s s 3"],
    verts_cam: Float[Array, "v 3"],
    camera: Camera,
) -> tuple[Float[Array, "n 3"], Float[Array, "n"], Float[Array, "n 3"]]:
    """Colour, weight and camera-space normal of every used texel in one crop."""
    size = crop.shape[0]
    z_c = camera.distance - verts_cam[:, 2:]
    fragments = rasterize(to_clip(verts_cam, camera, size, size), renderer.topology, size, size)
    nearest = interpolate(z_c, fragments, renderer.topology)[..., 0]
    nearest = jnp.where(fragments.face_id >= 0, nearest, jnp.inf)

    def at(values: Float[Array, "v c"]) -> Float[Array, "n c"]:
        return jnp.einsum("nk,nkc->nc", bary, values[verts])

    points = at(verts_cam)
    px = project(points, camera)
    normals = normalize(at(renderer.normals(verts_cam)))
    to_eye = normalize(jnp.array([0.0, 0.0, 1.0]) * camera.distance - points)
    cosine = jnp.sum(normals * to_eye, axis=-1)
    cell = jnp.clip(jnp.floor(px).astype(jnp.int32), 0, size - 1)
    seen = camera.distance - points[:, 2] < nearest[cell[:, 1], cell[:, 0]] + DEPTH_SLACK
    inside = jnp.all((px >= 0) & (px <= size), axis=-1)
    # A strip has no normal of its own; it is worth as much as it is open.
    mouth = jnp.clip(6 * _opening(verts_cam, mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER), MIN_STRIP, 1)
    lids = _opening(verts_cam, 159, 145) + _opening(verts_cam, 386, 374)
    eyes = jnp.clip(4 * lids, MIN_STRIP, 1)
    skin = jnp.where(cosine > MIN_COSINE, cosine, 0.0)
    weight = jnp.select([region == SKIN, region == MOUTH, region == EYES], [skin, mouth, eyes])
    weight = jnp.where(seen & inside, weight**2, 0.0)
    colour = sample_texture(crop, px[None] / size)[0]
    return colour, weight, normals


def unwrap_points(
    renderer: FaceRenderer,
    verts: np.ndarray,
    bary: np.ndarray,
    crop: np.ndarray,
    verts_cam: Float[Array, "v 3"],
    camera: Camera,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, weight and camera-space normal of points of the skin (corners [n 3], bary [n 3]) in a crop."""
    image = jnp.asarray(crop, jnp.float32) / 255.0
    region = jnp.full(len(verts), SKIN)
    parts = _unwrap(renderer, jnp.asarray(verts), jnp.asarray(bary), region, image, verts_cam, camera)
    return tuple(np.asarray(part) for part in parts)  # type: ignore[return-value]


class Unwrapper:
    """Unwraps crops of one person; compiled once for a model, texture size and crop size."""

    def __init__(self, renderer: FaceRenderer, texture_size: int):
        self.renderer = renderer
        self.texels = texels_of(renderer.model, texture_size)
        # arguments, not constants of the program: XLA would spend seconds folding them
        self._args = tuple(jnp.asarray(a) for a in (self.texels.verts, self.texels.bary, self.texels.region))

    def __call__(
        self, crop: np.ndarray, verts_cam: Float[Array, "v 3"], camera: Camera
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour `[n 3]` in [0, 1], weight `[n]` in [0, 1] and normals `[n 3]` seen in a uint8 crop."""
        image = jnp.asarray(crop, jnp.float32) / 255.0
        colour, weight, normals = _unwrap(self.renderer, *self._args, image, verts_cam, camera)
        return np.asarray(colour), np.asarray(weight), np.asarray(normals)


def fit_light(
    colour: np.ndarray, weight: np.ndarray, normals: np.ndarray, albedo: np.ndarray, *, ridge: float = 2e-3
) -> np.ndarray:
    """Nine spherical-harmonic coefficients per channel that light `albedo` like `colour`.

    Weighted ridge regression toward flat light, which keeps directions that the visible normals
    do not determine at rest.

    Args:
      colour, albedo: `[n 3]` linear in the image's own gray scale, 0..1. weight: `[n]`. normals: `[n 3]`.

    Returns:
      `[3 9]` as stored in `FaceCoeffs.sh_coeffs` (the constant 0.8 of band 0 not included).
    """
    basis = np.asarray(sh_basis(jnp.asarray(normals)))
    flat = np.zeros(9)
    flat[0] = 1.0 / basis[0, 0]
    out = np.zeros((3, 9), np.float64)
    for channel in range(3):
        design = basis * albedo[:, channel : channel + 1]
        weighted = design * weight[:, None]
        normal = weighted.T @ design
        # the floor gives a frame that shows no face flat light instead of a singular system
        strength = ridge * max(np.trace(normal) / 9, 1e-6)
        penalty = strength * np.diag(np.r_[1e-3, np.ones(8)])
        out[channel] = np.linalg.solve(normal + penalty, weighted.T @ colour[:, channel] + penalty @ flat)
    out[:, 0] -= AMBIENT
    return out.astype(np.float32)


def light_on(normals: np.ndarray, sh_coeffs: np.ndarray) -> np.ndarray:
    """Light `[n 3]` on unit normals `[n 3]`, at least 0.05 so that it can be divided by."""
    gamma = np.array(sh_coeffs, np.float32)
    gamma[:, 0] += AMBIENT
    return np.maximum(np.asarray(sh_basis(jnp.asarray(normals))) @ gamma.T, 0.05)


class TextureBank(NamedTuple):
    """Albedo of a person: shared mean, and each training frame's own, as unwrapped.

    mean: `[n 3]` float32 in [0, about 1.4]. frames: `[t n 3]` uint8 (`/ ALBEDO_SCALE`).
    weights: `[t n]` uint8 (0..255, how well the texel was seen). sh_coeffs: `[t 3 9]`.
    """

    mean: np.ndarray
    frames: np.ndarray
    weights: np.ndarray
    sh_coeffs: np.ndarray


def build_texture_bank(
    colours: np.ndarray, weights: np.ndarray, normals: np.ndarray, region: np.ndarray, *, rounds: int = 2
) -> TextureBank:
    """Alternates between each frame's light and the shared albedo.

    Args:
      colours: `[t n 3]` uint8 as unwrapped. weights: `[t n]` uint8. normals: `[t n 3]` float16.
      region: `[n]`; light is fitted on skin only.
      rounds: of (light, albedo).
    """
    t, n = weights.shape
    skin = np.flatnonzero(region == SKIN)[::5]
    total = np.maximum(weights.astype(np.float32).sum(0), 1e-3)[:, None]
    mean = sum(c.astype(np.float32) * w[:, None] for c, w in zip(colours, weights, strict=True)) / total / 255
    sh = np.zeros((t, 3, 9), np.float32)
    frames = np.empty_like(colours)
    for _ in range(rounds):
        acc = np.zeros((n, 3), np.float32)
        for k in range(t):
            normal = normals[k].astype(np.float32)
            sh[k] = fit_light(
                colours[k, skin].astype(np.float32) / 255,
                weights[k, skin].astype(np.float32) / 255,
                normal[skin],
                mean[skin],
            )
            albedo = colours[k].astype(np.float32) / 255 / light_on(normal, sh[k])
            frames[k] = np.clip(albedo * ALBEDO_SCALE + 0.5, 0, 255).astype(np.uint8)
            acc += np.minimum(albedo, 255 / ALBEDO_SCALE) * weights[k][:, None]
        mean = (acc / total).astype(np.float32)
    return TextureBank(mean, frames, weights, sh)
