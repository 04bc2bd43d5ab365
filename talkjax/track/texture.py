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

from talkjax.face import mesh468
from talkjax.face.lighting import AMBIENT, sh_basis
from talkjax.face.points import landmark_rows, points_at
from talkjax.face.render import FaceRenderer
from talkjax.numerics import normalize
from talkjax.raster.camera import project, to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.raster.topology import Topology
from talkjax.types import EYES, MOUTH, SKIN, Camera, FaceModel, SurfacePoints

DEPTH_SLACK = 0.035  # dm behind the nearest surface that still counts as seen
MIN_COSINE = 0.15
MIN_STRIP = 0.08  # weight (before squaring) of a closed mouth or eye: little, but told from unseen
FILL_TEXELS = 8.0  # how far colours are carried over the texture's border
_bands = jax.jit(sh_basis)  # one dispatch for its twenty operations

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

    def some(self, rows: np.ndarray) -> Texels:
        """Those rows alone, without a picture."""
        parts = (self.used[rows], self.verts[rows], self.bary[rows], self.region[rows])
        return Texels(self.size, *parts, np.zeros(0, np.int32))


def vertex_texels(model: FaceModel) -> Texels:
    """The model's vertices as texels `[v]` without a picture, to unwrap colors per vertex."""
    n, faces = model.mean.shape[0], np.asarray(model.faces)
    region = np.full(n, SKIN)
    for kind in (MOUTH, EYES):  # a vertex that no skin touches
        region[faces[np.asarray(model.face_region) == kind].reshape(-1)] = kind
    region[faces[np.asarray(model.face_region) == SKIN].reshape(-1)] = SKIN
    corners = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (n, 1))
    verts = np.repeat(np.arange(n, dtype=np.int32)[:, None], 3, axis=1)
    return Texels(0, np.arange(n), verts, corners, region, np.zeros(0, np.int32))


def texels_of(model: FaceModel, size: int) -> Texels:
    """Rasterizes the triangles in uv space. Overlaps go to the lowest triangle: skin before strips."""
    uvs = np.asarray(model.uvs)
    faces = np.asarray(model.faces)
    flat = np.c_[2 * uvs[:, 0] - 1, 1 - 2 * uvs[:, 1], np.zeros(len(uvs)), np.ones(len(uvs))]
    topology = Topology.from_faces(faces, len(uvs))
    # one program: compiled in half the time of rasterize's own pieces
    fragments = jax.jit(lambda clip: rasterize(clip, topology, size, size))(jnp.asarray(flat, jnp.float32))
    face_id = np.asarray(fragments.face_id).reshape(-1)
    index = np.flatnonzero(face_id >= 0)
    owner = face_id[index]
    from scipy import ndimage  # a third of a second, which rendering alone need not wait for

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


_OPPOSITE = (
    *(mesh468.LEFT_EYE_OUTER, mesh468.RIGHT_EYE_OUTER),  # the unit
    *(mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER, 159, 145, 386, 374),  # lips, right and left lids
)


def opening_points(model: FaceModel) -> SurfacePoints | None:
    """The landmarks that tell how open mouth and eyes are; None for a model that lacks one of them."""
    number = np.asarray(model.landmarks.number)
    if not np.isin(_OPPOSITE, number).all():
        return None
    rows = landmark_rows(model, np.array(_OPPOSITE))
    return jax.tree.map(lambda values: values[rows], model.landmarks)


def _openings(
    verts: Float[Array, "v 3"], points: SurfacePoints | None
) -> tuple[Float[Array, ""] | float, Float[Array, ""] | float]:
    """Opening of the mouth, and of both eyes together, over the outer-eye distance."""
    if points is None:
        return 1.0, 1.0
    pairs = points_at(verts, points).reshape(4, 2, 3)
    eyes, lips, right, left = jnp.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=-1)
    return lips / eyes, (right + left) / eyes


@partial(jax.jit, static_argnames=("renderer", "size"))
def _nearest_depth(
    renderer: FaceRenderer, verts_cam: Float[Array, "v 3"], camera: Camera, size: int
) -> Float[Array, "s s"]:
    """Distance of the face along the view axis in every pixel of a crop, dm; inf beside it."""
    fragments = rasterize(to_clip(verts_cam, camera, size, size), renderer.topology, size, size)
    nearest = interpolate(camera.distance - verts_cam[:, 2:], fragments, renderer.topology)[..., 0]
    return jnp.where(fragments.face_id >= 0, nearest, jnp.inf)


@partial(jax.jit, static_argnames=("renderer",))
def _unwrap(
    renderer: FaceRenderer,
    verts: Int[Array, "n 3"],
    bary: Float[Array, "n 3"],
    region: Int[Array, "n"],
    openings: SurfacePoints | None,
    crop: Float[Array, "s s 3"],
    nearest: Float[Array, "s s"],
    verts_cam: Float[Array, "v 3"],
    camera: Camera,
) -> tuple[Float[Array, "n 3"], Float[Array, "n"], Float[Array, "n 3"]]:
    """Colour, weight and camera-space normal of every used texel in one crop."""
    size = crop.shape[0]

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
    lips, lids = _openings(verts_cam, openings)
    mouth, eyes = jnp.clip(6 * lips, MIN_STRIP, 1), jnp.clip(4 * lids, MIN_STRIP, 1)
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
    depth = _nearest_depth(renderer, verts_cam, camera, crop.shape[0])
    at = jnp.asarray(verts), jnp.asarray(bary), region, None
    parts = _unwrap(renderer, *at, image, depth, verts_cam, camera)
    return tuple(np.asarray(part) for part in parts)  # type: ignore[return-value]


class Unwrapper:
    """Unwraps crops of one person; compiled once for a model, texture size and crop size."""

    def __init__(self, renderer: FaceRenderer, texels: Texels | int):
        """`texels`: those of the texture to fill, or its size (`texels_of`)."""
        self.renderer = renderer
        self.texels = texels_of(renderer.model, texels) if isinstance(texels, int) else texels
        # arguments, not constants of the program: XLA would spend seconds folding them
        arrays = (self.texels.verts, self.texels.bary, self.texels.region)
        self._args = (*(jnp.asarray(a) for a in arrays), opening_points(renderer.model))

    def depth(self, verts_cam: Float[Array, "v 3"], camera: Camera, size: int) -> Float[Array, "s s"]:
        """What of the face is nearest in each pixel of a crop; serves `__call__` of any texels."""
        return _nearest_depth(self.renderer, verts_cam, camera, size)

    def __call__(
        self,
        crop: np.ndarray,
        verts_cam: Float[Array, "v 3"],
        camera: Camera,
        depth: Float[Array, "s s"] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour `[n 3]` in [0, 1], weight `[n]` in [0, 1] and normals `[n 3]` seen in a uint8 crop."""
        if depth is None:
            depth = self.depth(verts_cam, camera, crop.shape[0])
        image = jnp.asarray(crop, jnp.float32) / 255.0
        colour, weight, normals = _unwrap(self.renderer, *self._args, image, depth, verts_cam, camera)
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
    basis = np.asarray(_bands(jnp.asarray(normals)))
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
    return np.maximum(np.asarray(_bands(jnp.asarray(normals))) @ gamma.T, 0.05)


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
