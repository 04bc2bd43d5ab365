"""From coefficients to per-pixel maps and borrowed textures: the rendering half of `layers` in jnp."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.face import mesh468
from talkjax.face.camera import clip_camera
from talkjax.face.points import vertex_points
from talkjax.face.pose import apply_pose
from talkjax.face.render import FaceRenderer, light_map
from talkjax.infer.bundle.layout import BundleConfig
from talkjax.infer.retrieval import ZONES
from talkjax.numerics import einsum
from talkjax.raster.camera import project
from talkjax.track.crop import HEAD_CENTER, SIDE_DM, crop_camera
from talkjax.track.texture import ALBEDO_SCALE
from talkjax.types import SKIN, Camera, FaceModel, Pose

FACE_FIELDS = ("mean", "exp_basis", "uvs")
"""Arrays of the face model that programs take; the triangles are part of them."""
BACKENDS = {"cpu": "loops", "cuda": "static", "rocm": "static", "tpu": "mosaic"}


def traced_renderer(renderer: FaceRenderer, face: dict[str, Any]) -> FaceRenderer:
    """The renderer with the face as an argument of the program."""
    model = dataclasses.replace(renderer.model, **{name: face[name] for name in FACE_FIELDS})
    return FaceRenderer(model, renderer.topology, renderer.normal_faces)


def static_model(faces: np.ndarray, face_region: np.ndarray, n_exp: int, n_verts: int) -> FaceModel:
    """The parts of a face model that are the same in all calls, with room for the rest; no identity modes."""
    triangles: Any = np.asarray(faces, np.int32)  # numpy: the topology is made while tracing
    regions: Any = np.asarray(face_region, np.int32)
    return FaceModel(
        mean=jnp.zeros((n_verts, 3)),
        id_basis=jnp.zeros((0, n_verts, 3)),
        exp_basis=jnp.zeros((n_exp, n_verts, 3)),
        exp_signed=jnp.zeros(n_exp, bool),
        faces=triangles,
        face_region=regions,
        uvs=jnp.zeros((n_verts, 2)),
        landmarks=vertex_points(np.arange(n_verts), np.arange(n_verts)),
    )


def head_square(pose: Pose, camera: Camera) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """Center and side of the head crop in image pixels; see `track/crop`."""
    center_cam = apply_pose(jnp.asarray(HEAD_CENTER)[None], pose)
    center = project(center_cam, camera)[0]
    return center, SIDE_DM * camera.focal / (camera.distance - center_cam[0, 2])


def _albedo(bank: dict[str, Any], j: Array) -> tuple[Float[Array, "n 3"], Float[Array, "n 1"]]:
    """A bank frame's albedo, and how well each texel was seen in it."""
    colour = jax.lax.dynamic_index_in_dim(bank["frames"], j, 0, keepdims=False).astype(jnp.float32)
    weight = jax.lax.dynamic_index_in_dim(bank["weights"], j, 0, keepdims=False)
    share = jnp.minimum(weight.astype(jnp.float32) / 64, 1)
    seen = jnp.where(bank["strip"], (weight > 0).astype(jnp.float32), share)
    return colour / ALBEDO_SCALE, seen[:, None]


def borrowed(bank: dict[str, Any], one: Array, look: Array) -> Float[Array, "n 9"]:
    """Albedo per texel: mean, what the memory of appearance says, single look-alike; see `layers`.

    Args:
      one: `[3]` bank frame per zone. look: `[r]` codes of all zones.
    """
    mean = bank["mean"]
    many, single = mean, jnp.zeros_like(mean)
    begin = 0
    for k, zone in enumerate(ZONES):
        share = bank["zones"][k][:, None]
        colour, seen = _albedo(bank, one[k])
        single = single + share * (mean + seen * (colour - mean))
        if f"basis_{zone}" in bank:
            basis = bank[f"basis_{zone}"]
            code, begin = look[begin : begin + basis.shape[0]], begin + basis.shape[0]
            rest = einsum("r,rmc->mc", code, basis.astype(jnp.float32))
            # a gather from a padded array: XLA's scatters are many times slower on CPU
            many = many + share * jnp.pad(rest, ((0, 1), (0, 0)))[bank[f"place_{zone}"]]
    return jnp.concatenate([mean, many, single], -1)


def shape_program(config: BundleConfig, renderer: FaceRenderer, platform: str) -> Any:
    """(face, bank, inputs) -> outputs, each with a leading batch.

    Inputs: exp `[b e]`, euler, translation `[b 3]`, sh `[b 3 9]`, shown `[b e]` (expression in the background
    frame, whose head pose is the output's), one `[b 3]`, look `[b r]`. Outputs: uv, light, region (see
    `FaceMaps`), texture `[b s s 9]`, center `[b 2]`, side `[b]` of the head crop in image pixels, new and
    old `[b 36 2]`: the face outline in crop pixels, as it will be and as the background frame shows it.
    """
    camera, size = clip_camera(config.width, config.height), config.crop_size
    oval = np.asarray(mesh468.FACE_OVAL)

    def maps_of(face: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Array]:
        own = traced_renderer(renderer, face)
        pose = Pose(inputs["euler"], inputs["translation"])
        center, side = jax.vmap(lambda p: head_square(p, camera))(pose)
        cameras = jax.vmap(lambda c, s: crop_camera(camera, c, s, size))(center, side)
        verts = own.verts_cam(inputs["exp"], pose)
        maps = own.maps(verts, cameras, size, BACKENDS[platform])
        outline = jax.vmap(lambda v, c: project(v[oval], c))
        return {
            "uv": maps.uv,
            "light": light_map(maps, inputs["sh"]),
            "region": maps.region.astype(jnp.int8),
            "center": center,
            "side": side,
            "new": outline(verts, cameras),
            "old": outline(own.verts_cam(inputs["shown"], pose), cameras),
        }

    def textures(bank: dict[str, Any], inputs: dict[str, Any]) -> Array:
        def one(row: dict[str, Array]) -> Array:
            values = borrowed(bank, row["one"], row["look"])
            return values[bank["fill"]].reshape(config.texture_size, config.texture_size, -1)

        rows = {name: inputs[name] for name in ("one", "look")}
        return (
            jax.lax.map(one, rows)
            if rows["one"].shape[0] != 1
            else one(jax.tree.map(lambda x: x[0], rows))[None]
        )

    def shape(
        face: dict[str, Any], bank: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        return {}, maps_of(face, inputs) | {"texture": textures(bank, inputs)}

    return shape


def bank_arrays(person: Any, appearance: Any | None) -> dict[str, np.ndarray]:
    """Borrowed appearance of a person: albedo of every training frame, its main components, and where they
    belong."""
    arrays = {} if appearance is None else _bases(appearance, len(person.bank.mean))
    return arrays | {
        "mean": np.asarray(person.bank.mean, np.float32),
        "frames": np.asarray(person.bank.frames),
        "weights": np.asarray(person.bank.weights),
        "zones": np.stack(person.zones).astype(np.float32),
        "strip": person.texels.region != SKIN,
        "fill": person.texels.fill.astype(np.int32),
    }


def _bases(appearance: Any, n_texels: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, zone in zip(ZONES, appearance.zones, strict=True):
        place = np.full(n_texels, len(zone.texels), np.int32)  # one past the last: not in this zone
        place[zone.texels] = np.arange(len(zone.texels), dtype=np.int32)
        arrays |= {f"basis_{name}": zone.basis.astype(np.float16), f"place_{name}": place}
    return arrays


def face_arrays(model: FaceModel) -> dict[str, np.ndarray]:
    """What programs read of a face, and the triangles that they were made for."""
    names = (*FACE_FIELDS, "faces", "face_region")
    return {name: np.asarray(getattr(model, name)) for name in names}
