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
from talkjax.materialize import computed_once
from talkjax.raster.antialias import antialias
from talkjax.raster.camera import to_clip
from talkjax.raster.interpolate import interpolate_planes
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.raster.topology import Topology
from talkjax.types import SKIN, Camera, FaceModel, Fragments, Pose


@struct.dataclass
class FaceMaps:
    """What a pixel of the rendered face is made of; background pixels hold zeros and region -1.

    uv in [0, 1] (v down), unit normals in camera space, region as in `types` (SKIN, MOUTH, EYES), depth along
    the view axis (dm from the camera). `seen` and `verts_clip` are what antialiasing needs.
    """

    uv: Float[Array, "*b h w 2"]
    normals: Float[Array, "*b h w 3"]
    region: Int[Array, "*b h w"]
    depth: Float[Array, "*b h w"]
    seen: Fragments
    verts_clip: Float[Array, "*b v 4"]


@struct.dataclass
class FaceImages:
    """A rendered face: lit color and coverage in [0, 1], depth (dm from the camera; 0 off the face), uv."""

    image: Float[Array, "*b h w 3"]
    mask: Float[Array, "*b h w"]
    depth: Float[Array, "*b h w"]
    uv: Float[Array, "*b h w 2"]


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRenderer:
    """A face model made ready for rendering: static topology, triangles for the normals.

    Strips between lips and lids cut through the skin's own vertices, so those get their normals from the skin
    alone; parts with vertices of their own (teeth, eyeballs) have normals too.
    """

    model: FaceModel
    topology: Topology
    normal_faces: np.ndarray

    @classmethod
    def from_model(cls, model: FaceModel) -> FaceRenderer:
        faces = np.asarray(model.faces)
        region = np.asarray(model.face_region)
        on_skin = np.isin(faces, faces[region == SKIN]).any(1)
        own = faces[(region == SKIN) | ~on_skin]
        return cls(model, Topology.from_faces(faces, model.mean.shape[0]), own)

    def verts_cam(
        self,
        exp_coeffs: Float[Array, "*b e"],
        pose: Pose,
        id_coeffs: Float[Array, "*b k"] | None = None,
    ) -> Float[Array, "*b v 3"]:
        """Camera-space vertices (dm); without `id_coeffs` the person in the model's mean."""
        if id_coeffs is None:
            id_coeffs = jnp.zeros(self.model.id_basis.shape[0])
        return apply_pose(face_verts(self.model, id_coeffs, exp_coeffs), pose)

    def normals(self, verts_cam: Float[Array, "*b v 3"]) -> Float[Array, "*b v 3"]:
        return vertex_normals(verts_cam, self.normal_faces)

    def maps(
        self, verts_cam: Float[Array, "*b v 3"], camera: Camera, size: int, backend: str = "auto"
    ) -> FaceMaps:
        """Rasterizes faces into squares of `size` pixels; `camera` has the batch, or none and is shared."""
        if camera.focal.ndim:
            verts_clip = jax.vmap(lambda v, c: to_clip(v, c, size, size))(verts_cam, camera)
        else:
            verts_clip = to_clip(verts_cam, camera, size, size)
        seen = rasterize(verts_clip, self.topology, size, size, backend=backend)
        uv = interpolate_planes(jnp.asarray(self.model.uvs), seen, self.topology)
        uv = [computed_once(plane) for plane in uv]  # or each texel computes them for its own address
        moving = jnp.concatenate([self.normals(verts_cam), verts_clip[..., 3:]], axis=-1)
        *normal, depth = interpolate_planes(moving, seen, self.topology)
        region = jnp.asarray(self.model.face_region)[jnp.maximum(seen.face_id, 0)]
        return FaceMaps(
            uv=jnp.stack(uv, axis=-1),
            normals=jnp.stack(_unit(*normal), axis=-1),
            region=jnp.where(seen.face_id >= 0, region, -1),
            depth=depth,
            seen=seen,
            verts_clip=verts_clip,
        )


def light_map(maps: FaceMaps, sh_coeffs: Float[Array, "*b 3 9"]) -> Float[Array, "*b h w 3"]:
    """Spherical-harmonic light that falls on each pixel of the face (reference.md §2.2), at least 0."""
    return jnp.maximum(irradiance(maps.normals, sh_coeffs), 0.0)


def _unit(*xyz: Float[Array, "*b"]) -> list[Float[Array, "*b"]]:
    """`normalize` channel by channel. Divided, not multiplied by an inverse: quotients are what XLA on CPU
    does not compute anew for each color that reads them."""
    squared = sum(x * x for x in xyz)
    length = jnp.sqrt(jnp.where(squared > 0, squared, 1.0))  # no gradient through the length of zero
    return [x / length for x in xyz]


@partial(jax.jit, static_argnames=("renderer", "size"))
def _posed_maps(
    renderer: FaceRenderer, exp_coeffs: Array, pose: Pose, camera: Camera, sh_coeffs: Array, size: int
) -> tuple[Array, Array, Array]:
    maps = renderer.maps(renderer.verts_cam(exp_coeffs, pose), camera, size)
    return maps.uv, light_map(maps, sh_coeffs), maps.region


@jax.jit
def _lit_textures(uv: Array, light: Array, region: Array, textures: Array) -> Array:
    albedo = computed_once(sample_texture(textures, uv))
    light = computed_once(light)
    lit = albedo * jnp.tile(light, (1,) * (light.ndim - 1) + (textures.shape[-1] // 3,))
    return jnp.where(region[..., None] >= 0, jnp.clip(lit, 0.0, 1.0), 0.0)


def render_layers(
    renderer: FaceRenderer,
    exp_coeffs: Float[Array, "*b e"],
    pose: Pose,
    sh_coeffs: Float[Array, "*b 3 9"],
    textures: Float[Array, "s s c"],
    camera: Camera,
    size: int,
) -> tuple[Float[Array, "*b size size c"], Int[Array, "*b size size"]]:
    """Renders several albedo textures (3 channels each, side by side in `c`) under one light.

    Two programs on purpose: in one, XLA on CPU repeats the texture's address arithmetic for every use.

    Returns:
      Lit colour of every texture in [0, 1] (zero off the face) and the region map (-1 off the face).
    """
    uv, light, region = _posed_maps(renderer, exp_coeffs, pose, camera, sh_coeffs, size)
    return _lit_textures(uv, light, region, textures), region


@partial(jax.jit, static_argnames=("renderer", "size", "smooth"))
def render_faces(
    renderer: FaceRenderer,
    exp_coeffs: Float[Array, "*b e"],
    pose: Pose,
    sh_coeffs: Float[Array, "*b 3 9"],
    texture: Float[Array, "s s 3"] | None,
    camera: Camera,
    size: int,
    smooth: bool = False,
    id_coeffs: Float[Array, "*b k"] | None = None,
) -> FaceImages:
    """Frames from their coefficients, all in one program; differentiable in all of them.

    Args:
      texture: albedo shared by the batch, or of the batch; None renders white clay.
      camera: of the batch, or shared.
      smooth: antialias image and mask, so that silhouettes pull on pose and shape.
      id_coeffs: another identity than the one in the model's mean.
    """
    maps = renderer.maps(renderer.verts_cam(exp_coeffs, pose, id_coeffs), camera, size)
    light = light_map(maps, sh_coeffs)
    if texture is None:
        image = jnp.where(maps.region[..., None] >= 0, jnp.clip(light, 0.0, 1.0), 0.0)
    else:
        image = _lit_textures(maps.uv, light, maps.region, texture)
    mask = (maps.region >= 0).astype(image.dtype)
    if smooth:
        both = jnp.concatenate([image, mask[..., None]], axis=-1)
        both = antialias(both, maps.verts_clip, maps.seen, renderer.topology)
        image, mask = both[..., :3], both[..., 3]
    return FaceImages(image=image, mask=mask, depth=maps.depth, uv=maps.uv)
