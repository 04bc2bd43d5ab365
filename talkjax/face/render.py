"""From a posed face to per-pixel maps: the only bridge between the face and the rasterizer."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from talkjax.face.lighting import irradiance
from talkjax.face.model import face_verts, vertex_normals
from talkjax.face.pose import apply_pose
from talkjax.numerics import normalize
from talkjax.raster.camera import to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.raster.topology import Topology
from talkjax.types import SKIN, Camera, FaceModel, Pose


@struct.dataclass
class FaceMaps:
    """What a pixel of the rendered face is made of; background pixels hold zeros and region -1.

    uv in [0, 1] (v down), unit normals in camera space, region as in `types` (SKIN, MOUTH, EYES).
    """

    uv: Float[Array, "*b h w 2"]
    normals: Float[Array, "*b h w 3"]
    region: Int[Array, "*b h w"]


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRenderer:
    """A face model made ready for rendering: static topology, skin triangles for the normals.

    The mouth and eye strips cut through lips and lids, so normals come from the skin triangles alone.
    """

    model: FaceModel
    topology: Topology
    skin_faces: np.ndarray

    @classmethod
    def from_model(cls, model: FaceModel) -> FaceRenderer:
        faces = np.asarray(model.faces)
        region = np.asarray(model.face_region)
        return cls(model, Topology.from_faces(faces, model.mean.shape[0]), faces[region == SKIN])

    def verts_cam(self, exp_coeffs: Float[Array, "*b e"], pose: Pose) -> Float[Array, "*b v 3"]:
        """Camera-space vertices (dm); the identity is folded into the model's mean."""
        no_identity = jnp.zeros(self.model.id_basis.shape[0])
        return apply_pose(face_verts(self.model, no_identity, exp_coeffs), pose)

    def normals(self, verts_cam: Float[Array, "*b v 3"]) -> Float[Array, "*b v 3"]:
        return vertex_normals(verts_cam, self.skin_faces)

    def maps(self, verts_cam: Float[Array, "v 3"], camera: Camera, size: int) -> FaceMaps:
        """Rasterizes one face into a square of `size` pixels seen by `camera`."""
        fragments = rasterize(to_clip(verts_cam, camera, size, size), self.topology, size, size)
        attributes = jnp.concatenate([self.model.uvs, self.normals(verts_cam)], axis=-1)
        pixels = interpolate(attributes, fragments, self.topology)
        region = jnp.asarray(self.model.face_region)[jnp.maximum(fragments.face_id, 0)]
        return FaceMaps(
            uv=pixels[..., :2],
            normals=normalize(pixels[..., 2:5]),
            region=jnp.where(fragments.face_id >= 0, region, -1),
        )


def light_map(maps: FaceMaps, sh_coeffs: Float[Array, "3 9"]) -> Float[Array, "h w 3"]:
    """Spherical-harmonic light that falls on each pixel of the face (reference.md §2.2), at least 0."""
    h, w = maps.region.shape
    light = irradiance(maps.normals.reshape(h * w, 3), sh_coeffs)
    return jnp.maximum(light.reshape(h, w, 3), 0.0)


@partial(jax.jit, static_argnames=("renderer", "size"))
def _posed_maps(
    renderer: FaceRenderer, exp_coeffs: Array, pose: Pose, camera: Camera, sh_coeffs: Array, size: int
) -> tuple[Array, Array, Array]:
    maps = renderer.maps(renderer.verts_cam(exp_coeffs, pose), camera, size)
    return maps.uv, light_map(maps, sh_coeffs), maps.region


@jax.jit
def _lit_textures(uv: Array, light: Array, region: Array, textures: Array) -> Array:
    lit = sample_texture(textures, uv) * jnp.tile(light, (1, 1, textures.shape[-1] // 3))
    return jnp.where(region[..., None] >= 0, jnp.clip(lit, 0.0, 1.0), 0.0)


def render_layers(
    renderer: FaceRenderer,
    exp_coeffs: Float[Array, "e"],
    pose: Pose,
    sh_coeffs: Float[Array, "3 9"],
    textures: Float[Array, "s s c"],
    camera: Camera,
    size: int,
) -> tuple[Float[Array, "size size c"], Int[Array, "size size"]]:
    """Renders several albedo textures (3 channels each, side by side in `c`) under one light.

    Two programs on purpose: in one, XLA on CPU repeats the texture's address arithmetic for every use.

    Returns:
      Lit colour of every texture in [0, 1] (zero off the face) and the region map (-1 off the face).
    """
    uv, light, region = _posed_maps(renderer, exp_coeffs, pose, camera, sh_coeffs, size)
    return _lit_textures(uv, light, region, textures), region
