"""What a face model says of the colors of a person's skin, and how each unknown changes them.

A vertex of the skin should have the color of its albedo under the light that falls on its normal; the picture
shows another where it projects to. Every unknown moves the place, turns the normal, or changes albedo or
light, so the difference tells shape from shading as well as from texture. Normals come from four neighbors of
a vertex (`face/rings.py`), which makes them a product of two lines that are linear in the coefficients: the
Jacobian is a handful of small matrix products. Whether a vertex is seen comes from the rasterizer.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from talkjax.face.lighting import AMBIENT, irradiance, sh_basis
from talkjax.face.pose import apply_pose, rotation
from talkjax.face.rings import four_neighbors
from talkjax.numerics import einsum, normalize
from talkjax.raster.camera import project, to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.raster.topology import Topology
from talkjax.track import gauss_newton as gn
from talkjax.types import Camera, FaceModel, Pose

CROP = 112
"""Side of the crops, px."""

OUTLIER = 0.2
"""Color difference at which a vertex has half its weight (Geman and McClure's robust weight)."""

N_LIGHT = 27

_FINER = 2  # visibility is decided in a picture so many times as large
_SLACK_DM = 0.05
_MIN_COSINE = 0.25


@struct.dataclass
class ShadedSkin:
    """A model at the vertices of its front, each with the two lines that span its tangent plane.

    mean [v 9], id_basis [k v 9], exp_basis [e v 9]: place, then the lines, dm. counted [v]: 1 for skin.
    """

    mean: Float[Array, "v 9"]
    id_basis: Float[Array, "k v 9"]
    exp_basis: Float[Array, "e v 9"]
    tex_mean: Float[Array, "v 3"]
    tex_basis: Float[Array, "x v 3"]
    counted: Float[Array, "v"]
    faces: Int[Array, "f 3"]
    topology: Topology

    @property
    def n_shared(self) -> int:
        """How many unknowns all frames share: identity, texture, light."""
        return self.id_basis.shape[0] + self.tex_basis.shape[0] + N_LIGHT

    def split(self, shared: Float[Array, "s"]) -> tuple[Array, Array, Array]:
        """(id_coeffs, tex_coeffs, sh_coeffs [3 9]) of the shared unknowns."""
        k, x = self.id_basis.shape[0], self.tex_basis.shape[0]
        return shared[:k], shared[k : k + x], shared[k + x :].reshape(3, 9)


def shaded_skin(front: FaceModel, skin: np.ndarray) -> ShadedSkin:
    """Args:
      front: linear model with texture, cut down to what is drawn, with the triangles between its vertices.
      skin: [v] bool, the vertices whose colors count; those on the mesh's rim do not.

    Raises:
      ValueError: the model has no texture.
    """
    if front.tex_mean is None or front.tex_basis is None:
        raise ValueError(f"model {front.name} has no texture")
    faces, mean = np.asarray(front.faces), np.asarray(front.mean)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    inner = np.ones(len(mean), bool)
    inner[edges[uses == 1].ravel()] = False
    corners = mean[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(mean)
    for k in range(3):
        np.add.at(normals, faces[:, k], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    a, b, c, d = four_neighbors(mean, faces, normals).T

    def with_lines(values: Array) -> Array:
        x = np.asarray(values)
        lines = (x, x[..., a, :] - x[..., c, :], x[..., b, :] - x[..., d, :])
        return jnp.asarray(np.concatenate(lines, axis=-1))

    return ShadedSkin(
        mean=with_lines(front.mean),
        id_basis=with_lines(front.id_basis),
        exp_basis=with_lines(front.exp_basis),
        tex_mean=jnp.asarray(front.tex_mean),
        tex_basis=jnp.asarray(front.tex_basis),
        counted=jnp.asarray(skin & inner, jnp.float32),
        faces=jnp.asarray(faces),
        topology=Topology.from_faces(faces, len(mean)),
    )


def _local(skin: ShadedSkin, id_coeffs: Array, exp_coeffs: Array) -> Float[Array, "v 9"]:
    shape = skin.mean + einsum("k,kvc->vc", id_coeffs, skin.id_basis)
    return shape + einsum("e,evc->vc", exp_coeffs, skin.exp_basis)


def _explained(
    skin: ShadedSkin, shared: Array, albedo_gap: Array, theta: Array
) -> tuple[Float[Array, "v 3"], Float[Array, "3 9"], Float[Array, "v 9"]]:
    """Albedo, light with its constant, places and lines before the head's pose."""
    id_coeffs, tex_coeffs, sh = skin.split(shared)
    albedo = skin.tex_mean + einsum("x,xvc->vc", tex_coeffs, skin.tex_basis) + albedo_gap
    return albedo, sh.at[:, 0].add(AMBIENT), _local(skin, id_coeffs, theta[gn.POSE_SIZE :])


def _posed(local: Float[Array, "v 9"], pose: Float[Array, "6"]) -> tuple[Array, Array]:
    """Places and unit normals before the camera."""
    verts = apply_pose(local[:, :3], Pose(euler=pose[:3], translation=pose[3:]))
    normals = normalize(jnp.cross(local[:, 3:6], local[:, 6:]))
    return verts, einsum("vc,dc->vd", normals, rotation(pose[:3]))


@jax.jit
def weights_of(
    skin: ShadedSkin, shared: Float[Array, "s"], theta: Float[Array, "m"], camera: Camera
) -> Float[Array, "v"]:
    """How well each vertex is seen in a crop: 0 hidden or beside it, else the cosine toward the eye."""
    id_coeffs, _, _ = skin.split(shared)
    verts, normals = _posed(_local(skin, id_coeffs, theta[gn.POSE_SIZE :]), theta[: gn.POSE_SIZE])
    side = _FINER * CROP
    fine = Camera(focal=_FINER * camera.focal, center=_FINER * camera.center, distance=camera.distance)
    seen = rasterize(to_clip(verts, fine, side, side), skin.topology, side, side)
    depth = camera.distance - verts[:, 2:]
    nearest = interpolate(depth, seen, skin.topology)[..., 0]
    nearest = jnp.where(seen.face_id >= 0, nearest, jnp.inf)
    px = project(verts, fine)
    cell = jnp.clip(jnp.floor(px).astype(jnp.int32), 0, side - 1)
    clear = depth[:, 0] < nearest[cell[:, 1], cell[:, 0]] + _SLACK_DM
    inside = jnp.all((px > 2) & (px < side - 2), axis=-1)
    cosine = jnp.sum(normals * normalize(jnp.array([0.0, 0.0, 1.0]) * camera.distance - verts), axis=-1)
    return skin.counted * jnp.where(clear & inside & (cosine > _MIN_COSINE), cosine, 0.0)


class FrameView(NamedTuple):
    """A frame's crop [s s 3] in [0, 1], its camera, and how much each vertex counts in it [v]."""

    crop: Array
    camera: Camera
    weight: Array


def _seen(local: Array, pose: Array, albedo: Array, light: Array, view: FrameView) -> Float[Array, "v 3"]:
    """Picture less model."""
    verts, normals = _posed(local, pose)
    px = project(verts, view.camera)
    shown = sample_texture(view.crop, px[None] / CROP)[0]
    return shown - albedo * einsum("vk,ck->vc", sh_basis(normals), light)


def _robust(difference: Array, weight: Array) -> Float[Array, ""]:
    squared = jnp.sum(difference**2, axis=-1)
    return jnp.sum(weight * squared / (1 + squared / OUTLIER**2))


@jax.jit
def color_cost(
    skin: ShadedSkin,
    shared: Float[Array, "s"],
    albedo_gap: Float[Array, "v 3"],
    theta: Array,
    view: FrameView,
) -> Float[Array, ""]:
    """Robust sum of squared color differences of a frame."""
    return _robust(color_error(skin, shared, albedo_gap, theta, view), view.weight)


@jax.jit
def color_error(
    skin: ShadedSkin, shared: Array, albedo_gap: Array, theta: Array, view: FrameView
) -> Float[Array, "v 3"]:
    """Picture less model at every vertex; `albedo_gap` is what the person's skin has beside the axes."""
    albedo, light, local = _explained(skin, shared, albedo_gap, theta)
    return _seen(local, theta[: gn.POSE_SIZE], albedo, light, view)


@jax.jit
def shading_at(skin: ShadedSkin, shared: Float[Array, "s"], theta: Float[Array, "m"]) -> Float[Array, "v 3"]:
    """Light on every vertex."""
    id_coeffs, _, sh = skin.split(shared)
    local = _local(skin, id_coeffs, theta[gn.POSE_SIZE :])
    return irradiance(_posed(local, theta[: gn.POSE_SIZE])[1], sh)


@jax.jit
def color_blocks(
    skin: ShadedSkin,
    shared: Float[Array, "s"],
    albedo_gap: Float[Array, "v 3"],
    theta: Array,
    view: FrameView,
) -> tuple[Array, Array, Array]:
    """(cost, J'r, J'J) of a frame for (theta, shared)."""
    albedo, light, local = _explained(skin, shared, albedo_gap, theta)
    pose = theta[: gn.POSE_SIZE]

    def at(local: Array, pose: Array) -> Array:
        return _seen(local, pose, albedo, light, view)

    # a vertex' color depends on its own nine numbers alone: one tangent for each does for all vertices
    error, along_local = jax.linearize(at, local, pose)
    still = jnp.zeros_like(pose)
    by_local = jax.vmap(lambda e: along_local(jnp.broadcast_to(e, local.shape), still))(jnp.eye(9))
    by_pose = jax.vmap(lambda e: along_local(jnp.zeros_like(local), e))(jnp.eye(gn.POSE_SIZE))
    bases = jnp.concatenate([skin.exp_basis, skin.id_basis])
    by_shape = einsum("avc,kva->vck", by_local, bases)
    n_exp = skin.exp_basis.shape[0]
    _, normals = _posed(local, pose)
    bands = sh_basis(normals)
    shade = einsum("vk,ck->vc", bands, light)
    by_tex = -jnp.moveaxis(skin.tex_basis, 0, -1) * shade[..., None]
    by_light = -albedo[:, :, None, None] * (jnp.eye(3)[:, :, None] * bands[:, None, None, :])
    jacobian = jnp.concatenate(
        [
            jnp.moveaxis(by_pose, 0, -1),
            by_shape[..., :n_exp],
            by_shape[..., n_exp:],
            by_tex,
            by_light.reshape(*albedo.shape, N_LIGHT),
        ],
        axis=-1,
    )
    squared = jnp.sum(error**2, axis=-1)
    pull = jnp.sqrt(view.weight) / (1 + squared / OUTLIER**2)  # root of the slope of the robust cost
    flat = (jacobian * pull[:, None, None]).reshape(-1, jacobian.shape[-1])
    rest = (error * pull[:, None]).reshape(-1)
    return _robust(error, view.weight), einsum("ri,r->i", flat, rest), einsum("ri,rj->ij", flat, flat)
