"""Pictures of people who do not exist, with everything that a reconstruction should find.

    stage = FaceStage.of(model)                     # an ICT-FaceKit face model, once
    images, truth = draw_faces(stage, jax.random.key(0), count=16, size=128)

A pure function of (key, count, size), batched and compiled. Heads are drawn at twice the size and averaged;
eyes get their irises per pixel, all else is color per vertex. Truth is as a network should see it: poses are
those of the crop's own camera (`face/crop_pose.py`), while the picture was taken by `truth.camera`, nearer or
farther and off the picture's middle.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from talkjax.data import picture_spoil
from talkjax.data.face_samples import (
    ExpressionTable,
    Paint,
    expression_table,
    gaze_angles,
    sample_angles,
    sample_expressions,
    sample_identities,
    sample_light,
    sample_paint,
)
from talkjax.data.head_regions import MASKS, HeadRegions, head_regions, skin_weight
from talkjax.face.crop_pose import CROP_FOCAL, network_camera, repose
from talkjax.face.lighting import irradiance
from talkjax.face.model import face_verts
from talkjax.face.points import LandmarkPart, at_vertices, landmark_part
from talkjax.face.pose import apply_pose, rotation
from talkjax.face.rings import four_neighbors, ring_normals
from talkjax.numerics import einsum, normalize
from talkjax.raster.camera import project, to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.topology import Topology
from talkjax.track.crop import HEAD_CENTER, SIDE_DM
from talkjax.types import Camera, FaceCoeffs, FaceModel, Pose

SUPERSAMPLE = 2
IRIS_SIN, PUPIL_SIN = 0.35, 0.14
_FLESH, _TEETH, _SCLERA, _SOCKET = (
    (0.42, 0.16, 0.16),
    (0.90, 0.86, 0.76),
    (0.80, 0.77, 0.74),
    (0.5, 0.3, 0.26),
)
SHOULDERS_TURN = 0.35  # of the head's


class FaceTruth(NamedTuple):
    """What is known of a picture (all with a leading count).

    coeffs: as a network should answer, pose for the crop's own camera (`network_camera` of the whole crop);
    `tex_coeffs` has no columns where the model has no texture. camera, pose: how the picture was taken, in
    its pixels. landmarks: [l 2] px of the model's landmarks.
    """

    coeffs: FaceCoeffs
    camera: Camera
    pose: Pose
    landmarks: Array


@struct.dataclass
class FaceScenes:
    """Everything random of a batch of pictures but background and faults; `camera` in pixels of the crop."""

    id_coeffs: Float[Array, "n k"]
    exp_coeffs: Float[Array, "n e"]
    pose: Pose
    camera: Camera
    sh_coeffs: Float[Array, "n 3 9"]
    paint: Paint


@dataclasses.dataclass(frozen=True, eq=False)
class FaceStage:
    """A face model made ready: its drawn part, what is where on it, its landmarks; static under jit.

    head_center: middle of the head (`track/crop.py`), model space, dm.
    """

    model: FaceModel
    drawn: FaceModel
    regions: HeadRegions
    topology: Topology
    rings: np.ndarray
    landmarks: LandmarkPart
    table: ExpressionTable
    head_center: np.ndarray
    texture_fit: np.ndarray

    @classmethod
    def of(cls, model: FaceModel) -> FaceStage:
        """Raises InputError where the model lacks ICT-FaceKit's vertices."""
        regions = head_regions(model)
        mean = np.asarray(model.mean)[regions.verts]
        # the lifted model's frame has its origin between the outer corners of the eyes
        origin = _between_eyes(mean, regions)
        return cls(
            model=model,
            drawn=at_vertices(model, regions.verts),
            regions=regions,
            topology=Topology.from_faces(regions.faces, len(regions.verts)),
            rings=four_neighbors(mean, regions.faces, regions.outward),
            landmarks=landmark_part(model),
            table=expression_table(model.exp_names),
            head_center=(origin + np.array(HEAD_CENTER)).astype(np.float32),
            texture_fit=_texture_fit(model, regions),
        )


def _between_eyes(mean: np.ndarray, regions: HeadRegions) -> np.ndarray:
    """Middle between the outer corners of the eyes, model space: from the eyeballs, which all heads have."""
    eyes = mean[regions.eye > 0].mean(0)
    return np.array([0.0, eyes[1] - 0.01, eyes[2] - 0.12])


def albedo(stage: FaceStage, paint: Paint) -> tuple[Float[Array, "n v 3"], Float[Array, "n v"]]:
    """Colors of every drawn vertex, and how much hair is there."""
    mask = {
        name: jnp.asarray(row)[None, :, None] for name, row in zip(MASKS, stage.regions.masks, strict=True)
    }
    noise = jnp.asarray(stage.regions.noise)
    amount = [paint.amounts[:, k, None, None] for k in range(8)]
    grain = jnp.einsum("kv,nkc->nvc", noise, paint.color_noise)
    color = paint.skin[:, None] * (1 + (0.4 + amount[7]) * grain)

    def mix(color: Array, share: Array, other: Array) -> Array:
        return color + share * (other - color)

    color = color * (1 - amount[2] * mask["blood"] * jnp.array([-0.02, 0.15, 0.13]))
    color = color * (1 - amount[4] * mask["under_eye"]) * (1 - amount[5] * mask["crease"])
    rough = jnp.einsum("kv,nk->nv", noise, paint.hair_noise)[..., None] / np.sqrt(noise.shape[0])
    stubble = jnp.clip(amount[3] * mask["beard"] * (1 + 0.3 * rough) * (1 - mask["lips"]), 0.0, 1.0)
    color = mix(color, stubble, 0.8 * paint.hair[:, None] + 0.1 * paint.skin[:, None])
    color = mix(color, amount[0] * mask["lips"], paint.lips[:, None] * (1 + 0.5 * grain))
    color = mix(color, 0.8 * mask["mouth_line"], 0.6 * paint.lips[:, None])
    height = (3 * paint.side_hair[:, 3]).astype(int)
    for k, name in enumerate(("brows_low", "brows", "brows_high")):
        here = (height == k)[:, None, None]
        color = mix(color, here * amount[1] * mask[name], paint.brow[:, None])
    color = mix(color, amount[6] * mask["lid_rim"], 0.35 * paint.brow[:, None])
    color = color * (1 - 0.75 * mask["nostrils"])
    line = jnp.asarray(stage.regions.above_hairline) - paint.hairline[:, None] + 0.6 * rough[..., 0]
    hair = jax.nn.sigmoid(line / 0.35)
    color = mix(color, 0.96 * hair[..., None], paint.hair[:, None] * (1 + 0.25 * rough))
    color = mix(color, mask["cloth"], paint.cloth[:, None] * (1 + grain))
    for name, value in (("flesh", _FLESH), ("teeth", _TEETH), ("sclera", _SCLERA), ("socket", _SOCKET)):
        color = mix(color, mask[name], jnp.array(value))
    return jnp.clip(color, 0.01, 1.0), hair


def _lit(
    stage: FaceStage, scenes: FaceScenes, color: Array, verts_cam: Array, open_mouth: Array
) -> Float[Array, "n v 3"]:
    normals = ring_normals(verts_cam, stage.rings)
    light = jnp.maximum(irradiance(normals, scenes.sh_coeffs), 0.03)
    mouth = (stage.regions.let_in < 1.0) & (stage.regions.eye == 0)
    let_in = stage.regions.let_in * jnp.where(mouth, 0.2 + 0.8 * open_mouth[:, None], 1.0)
    half = normalize(jnp.array([0.2, 0.45, 1.0]))
    shine = 0.10 * jnp.maximum(einsum("nvc,c->nv", normals, half), 0.0) ** 16 * jnp.mean(light, -1)
    dull = 1 - jnp.asarray(stage.regions.masks)[MASKS.index("cloth")]
    return color * light * let_in[..., None] + (shine * dull * let_in)[..., None]


def posed(stage: FaceStage, scenes: FaceScenes, hair: Array) -> Float[Array, "n v 3"]:
    """Camera-space vertices of the drawn mesh: the head turns, the shoulders follow a little, hair stands."""
    verts = face_verts(stage.drawn, scenes.id_coeffs, scenes.exp_coeffs)
    noise = jnp.einsum("kv,nk->nv", stage.regions.noise[:14], scenes.paint.hair_noise[:, :14]) / 3.7
    lift = scenes.paint.volume[:, None] * hair * (1 + 0.3 * noise)
    verts = verts + lift[..., None] * stage.regions.outward
    share = jnp.asarray(stage.regions.share)[:, None]
    pivot = jnp.asarray(stage.head_center) - jnp.array([0.0, 0.9, 0.5])
    slow = Pose(SHOULDERS_TURN * scenes.pose.euler, scenes.pose.translation)
    meet = apply_pose(pivot[None], scenes.pose) - apply_pose(pivot[None], slow)
    return share * apply_pose(verts, scenes.pose) + (1 - share) * (apply_pose(verts, slow) + meet)


def _irises(stage: FaceStage, scenes: FaceScenes) -> Float[Array, "n v"]:
    """Cosine between the gaze and the place on the eyeball, per vertex; -1 elsewhere."""
    gaze = gaze_angles(stage.table, scenes.exp_coeffs)
    turned = rotation(jnp.concatenate([gaze, jnp.zeros_like(gaze[..., :1])], -1))[..., :, 2]
    eye = stage.regions.eye
    toward = turned[:, np.maximum(eye - 1, 0)]
    return jnp.where(eye > 0, jnp.sum(toward * stage.regions.eye_dir, -1), -1.0)


def draw_heads(
    stage: FaceStage, scenes: FaceScenes, size: int
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s 1"]]:
    """Colors (premultiplied) and coverage of the heads alone, averaged from twice the size."""
    fine = SUPERSAMPLE * size
    color, hair = albedo(stage, scenes.paint)
    verts = posed(stage, scenes, hair)
    open_mouth = jnp.clip(2.5 * scenes.exp_coeffs[:, stage.table.column("jawOpen")] + 0.2, 0.0, 1.0)
    lit = _lit(stage, scenes, color, verts, open_mouth)
    camera = jax.tree.map(lambda x: SUPERSAMPLE * x, scenes.camera).replace(distance=scenes.camera.distance)
    clip = jax.vmap(lambda v, c: to_clip(v, c, fine, fine))(verts, camera)
    seen = rasterize(clip, stage.topology, fine, fine, cull=True)
    pixels = interpolate(jnp.concatenate([lit, _irises(stage, scenes)[..., None]], -1), seen, stage.topology)
    covered = (seen.face_id >= 0)[..., None]
    cosine = jnp.where(covered, pixels[..., 3:], -1.0)
    sine = jnp.sqrt(jnp.maximum(1 - cosine**2, 0.0))
    iris = scenes.paint.iris[:, None, None] / jnp.array(_SCLERA)
    ring = jnp.where(sine > IRIS_SIN - 0.06, 0.6, 1.0)
    tint = jnp.where(sine < PUPIL_SIN, 0.03, iris * ring)
    is_iris = (cosine > 0) & (sine < IRIS_SIN)
    picture = jnp.where(is_iris, pixels[..., :3] * tint, pixels[..., :3])
    layers = jnp.where(covered, jnp.concatenate([picture, jnp.ones_like(cosine)], -1), 0.0)
    n = layers.shape[0]
    layers = layers.reshape(n, size, SUPERSAMPLE, size, SUPERSAMPLE, 4).mean((2, 4))
    return layers[..., :3], layers[..., 3:]


def _side_hair(stage: FaceStage, scenes: FaceScenes, picture: Array) -> Array:
    """Long hair beside and behind the head, under it in the picture."""
    width, length, shown = (scenes.paint.side_hair[:, k] for k in range(3))
    center = jnp.asarray(stage.head_center)
    places = []
    for side in (-1.0, 1.0):
        top = center + jnp.stack([side * width, 0 * width + 0.5, 0 * width - 0.4], -1)
        places.append(
            jnp.stack([top, top - jnp.stack([-0.15 * side * length, length, 0.2 + 0 * length], -1)], 1)
        )
    points = jnp.concatenate(places, 1)
    px = jax.vmap(project)(apply_pose(points, scenes.pose), scenes.camera)
    scale = scenes.camera.focal / (scenes.camera.distance - scenes.pose.translation[:, 2])
    radius = jnp.repeat((0.38 * scale)[:, None], 2, axis=1)
    color = jnp.broadcast_to(0.7 * scenes.paint.hair[:, None], (*radius.shape, 3))
    return picture_spoil.strokes(
        px[:, 0::2], px[:, 1::2], radius, color, jnp.repeat(shown[:, None], 2, axis=1), picture
    )


def sample_scenes(stage: FaceStage, key: Array, count: int, size: int, margin: float = 1.0) -> FaceScenes:
    """Random people before random cameras; the head fills the picture's middle part, `margin` times
    smaller than the picture, as it fills the tracker's square, nearly."""
    keys = jax.random.split(key, 8)
    euler = sample_angles(keys[0], count)
    jitter = jax.random.normal(keys[1], (count, 3)) * jnp.array([0.09, 0.09, 0.07])
    depth = margin * CROP_FOCAL * SIDE_DM * jnp.exp(jitter[:, 2])  # in front of the network's camera
    middle = jnp.stack([jitter[:, 0], jitter[:, 1], 10.0 - depth], -1)
    network = network_camera(jnp.full((count, 2), size / 2), jnp.full((count,), float(size)))
    center = jnp.asarray(stage.head_center)
    pose = Pose(euler, middle - einsum("nij,j->ni", rotation(euler), center))
    far = jax.random.uniform(keys[2], (count,), minval=4.5, maxval=14.0)
    off = size * jax.random.uniform(keys[3], (count, 2), minval=-0.9, maxval=0.9)
    camera = Camera(focal=network.focal * far / depth, center=network.center + off, distance=network.distance)
    return FaceScenes(
        id_coeffs=sample_identities(keys[4], stage.model.id_basis.shape[0], count),
        exp_coeffs=sample_expressions(keys[5], stage.table, count),
        pose=repose(pose, center, network, camera),
        camera=camera,
        sh_coeffs=sample_light(keys[6], count),
        paint=sample_paint(keys[7], count),
    )


def scene_truth(stage: FaceStage, scenes: FaceScenes, size: int) -> FaceTruth:
    """The truth of pictures of `size` pixels."""
    count = scenes.id_coeffs.shape[0]
    network = network_camera(jnp.full((count, 2), size / 2), jnp.full((count,), float(size)))
    part = stage.landmarks
    shape = jnp.asarray(part.mean) + einsum("nk,klc->nlc", scenes.id_coeffs, jnp.asarray(part.id_basis))
    shape = shape + einsum("ne,elc->nlc", scenes.exp_coeffs, jnp.asarray(part.exp_basis))
    coeffs = FaceCoeffs(
        id_coeffs=scenes.id_coeffs,
        exp_coeffs=scenes.exp_coeffs,
        tex_coeffs=_texture_coeffs(stage, scenes.paint),
        pose=repose(scenes.pose, jnp.asarray(stage.head_center), scenes.camera, network),
        sh_coeffs=scenes.sh_coeffs,
    )
    seen = jax.vmap(project)(apply_pose(shape, scenes.pose), scenes.camera)
    return FaceTruth(coeffs, scenes.camera, scenes.pose, seen)


def _texture_fit(model: FaceModel, regions: HeadRegions) -> np.ndarray:
    """[x v 3] what makes the nearest texture coefficients of a painted skin less `tex_mean`."""
    if model.tex_basis is None:
        return np.zeros((0, len(regions.verts), 3), np.float32)
    basis = np.asarray(model.tex_basis, np.float64)[:, regions.verts]
    weighted = basis * skin_weight(regions)[:, None]
    gram = np.einsum("xvc,yvc->xy", weighted, basis)
    return np.linalg.solve(gram, weighted.reshape(len(basis), -1)).reshape(basis.shape).astype(np.float32)


def _texture_coeffs(stage: FaceStage, paint: Paint) -> Float[Array, "n x"]:
    if stage.drawn.tex_mean is None:
        return jnp.zeros((paint.skin.shape[0], 0))
    painted, _ = albedo(stage, paint)
    return einsum("xvc,nvc->nx", jnp.asarray(stage.texture_fit), painted - stage.drawn.tex_mean)


@partial(jax.jit, static_argnames=("stage", "count", "size", "margin", "faults"))
def draw_faces(
    stage: FaceStage, key: Array, count: int, size: int, margin: float = 1.0, faults: bool = True
) -> tuple[Float[Array, "n s s 3"], FaceTruth]:
    """`count` pictures in [0, 1] and their truth.

    Args:
      margin: side of the picture over that of the tracker's square, which is in its middle.
      faults: whether things hide the face and a camera spoils the picture.
    """
    keys = jax.random.split(key, 4)
    scenes = sample_scenes(stage, keys[0], count, size, margin)
    return compose(stage, scenes, keys[1:], size, faults), scene_truth(stage, scenes, size)


def compose(
    stage: FaceStage, scenes: FaceScenes, keys: Array, size: int, faults: bool
) -> Float[Array, "n s s 3"]:
    """Heads before backgrounds; `keys` are three."""
    count = scenes.id_coeffs.shape[0]
    picture = picture_spoil.backgrounds(keys[0], count, size)
    picture = _side_hair(stage, scenes, picture)
    heads, covered = draw_heads(stage, scenes, size)
    picture = jnp.clip(heads + (1 - covered) * picture, 0.0, 1.0)
    if not faults:
        return picture
    return picture_spoil.spoil(keys[2], picture_spoil.occlude(keys[1], picture))
