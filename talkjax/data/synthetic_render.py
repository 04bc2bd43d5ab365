"""Draws one frame of the synthetic person: deform, light vertices, rasterize finely, shade, compose."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, UInt8

from talkjax.data.synthetic_light import KEY_DIRECTION
from talkjax.data.synthetic_mesh import EYE_CENTER
from talkjax.data.synthetic_scene import (
    ATLAS_HEIGHT,
    ATLAS_WIDTH,
    EYE_LEFT_TOP,
    EYE_TEXELS,
    WHITE_LEFT_TOP,
    Scene,
    glint_discs,
    place_uv,
)
from talkjax.face.camera import clip_camera
from talkjax.face.lighting import sh_basis
from talkjax.face.model import vertex_normals
from talkjax.face.pose import apply_pose, rotation
from talkjax.numerics import einsum, normalize
from talkjax.raster.camera import to_clip
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.texture import sample_texture
from talkjax.types import Pose

SUPERSAMPLE = 2
_LASH_TURN = 1.05  # radians that the upper lashes turn down in a full blink
_SHADOW_TINT = (0.72, 1.0, 1.08)  # exponents: light scattered under the skin leaves shadows' edges red
_TONGUE_REST = (0.0, -0.45, -0.45)  # dm at the tip per dm between the lips
_TONGUE_RAISE = (0.0, 0.085, 0.03)  # dm at the tip


@struct.dataclass
class FrameState:
    """What moves.

    exp_weights; poses of head and shoulders; gaze (pitch down, yaw to image right; radians); blink of the
    left and right eye 0..1; raised tongue 0..1; free distance between the lips, dm.
    """

    exp_weights: Float[Array, "*b e"]
    head: Pose
    shoulders: Pose
    gaze: Float[Array, "*b 2"]
    blink: Float[Array, "*b 2"]
    tongue: Float[Array, "*b"]
    lip_gap: Float[Array, "*b"]


def _deform(scene: Scene, state: FrameState) -> Float[Array, "v 3"]:
    moved = einsum("e,env->nv", state.exp_weights, scene.expressions)
    verts = jnp.asarray(scene.verts).at[: moved.shape[0]].add(moved)
    lifted = state.tongue * jnp.array(_TONGUE_RAISE) + (1 - state.tongue) * state.lip_gap * jnp.array(
        _TONGUE_REST
    )
    return verts + scene.tongue[:, None] * lifted


def _turn(normals: Float[Array, "n 3"], pose: Pose) -> Float[Array, "n 3"]:
    return einsum("ni,ji->nj", normals, rotation(pose.euler))


def _shine(
    normals: Float[Array, "n 3"], view: Float[Array, "n 3"], exposure: Float[Array, "n"]
) -> Float[Array, "n"]:
    """Highlights of the key light (two lobes, as on skin) and a faint rim of sky at grazing angles."""
    half = normalize(view + jnp.asarray(KEY_DIRECTION, jnp.float32))
    facing = jnp.maximum(jnp.sum(normals * half, -1), 0.0)
    grazing = 1 - jnp.maximum(jnp.sum(normals * view, -1), 0.0)
    return exposure * (0.085 * facing**12 + 0.12 * facing**48 + 0.05 * grazing**4)


def _view_direction(points: Float[Array, "n 3"], distance: Float[Array, ""]) -> Float[Array, "n 3"]:
    return normalize(jnp.stack([0.0, 0.0, distance]) - points)


def _draw_mesh(scene: Scene, state: FrameState, distance: Array) -> tuple[Array, Array, Array]:
    """Corners: camera-space points, attributes [c 6] (light rgb, uv, shine), displaced model verts."""
    verts = _deform(scene, state)
    normals = vertex_normals(verts, scene.skin_faces)
    share = scene.head_share[:, None]
    points = share * apply_pose(verts, state.head) + (1 - share) * apply_pose(verts, state.shoulders)
    normals = normalize(share * _turn(normals, state.head) + (1 - share) * _turn(normals, state.shoulders))
    # inside the mouth light comes in between the lips: the more, the further they are apart
    exposure = scene.exposure + scene.mouth_light * (0.12 + 0.88 * jnp.clip(state.lip_gap / 0.08, 0.0, 1.0))
    tinted = jnp.maximum(exposure, 1e-3)[:, None] ** jnp.array(_SHADOW_TINT)
    light = sh_basis(normals) @ scene.sh_light.T * tinted
    shine = _shine(normals, _view_direction(points, distance), exposure)
    index = scene.corner_vert
    uv = _eye_uv(scene, state)
    attributes = jnp.concatenate(
        [light[index] * scene.corner_tint, uv, (shine[index] * scene.corner_shine)[:, None]], -1
    )
    return points[index], attributes, verts


def _eye_uv(scene: Scene, state: FrameState) -> Float[Array, "c 2"]:
    """Texture coordinates; on the eyeballs they slide with the gaze, the surface itself stays."""
    gaze = rotation(jnp.stack([state.gaze[0], state.gaze[1], 0.0]))
    is_right = (scene.corner_eye == 2)[:, None]
    center = jnp.where(is_right, jnp.asarray(EYE_CENTER * (-1, 1, 1)), jnp.asarray(EYE_CENTER))
    toward = normalize(jnp.asarray(scene.verts)[scene.corner_vert] - center)
    local = einsum("ni,ij->nj", toward, gaze)
    patch = 0.5 + 0.5 * local[:, :2] * jnp.array([1.0, -1.0])
    inside = 0.5 + jnp.clip(patch, 0, 1) * (EYE_TEXELS - 1)
    size = jnp.array([ATLAS_WIDTH, ATLAS_HEIGHT], jnp.float32)
    eye_uv = (inside + jnp.array([EYE_LEFT_TOP[1], EYE_LEFT_TOP[0]], jnp.float32)) / size
    return jnp.where((scene.corner_eye > 0)[:, None], eye_uv, scene.corner_uv)


def _draw_shirt(scene: Scene, state: FrameState) -> tuple[Array, Array]:
    points = apply_pose(jnp.asarray(scene.shirt_verts), state.shoulders)
    normals = _turn(jnp.asarray(scene.shirt_normals), state.shoulders)
    light = sh_basis(normals) @ scene.sh_light.T * scene.shirt_exposure[:, None]
    return points, jnp.concatenate([light, scene.shirt_uv, jnp.zeros((light.shape[0], 1))], -1)


def _white_uv() -> np.ndarray:
    return place_uv(np.full(2, 0.5), WHITE_LEFT_TOP, 16).astype(np.float32)


def _draw_strands(scene: Scene, state: FrameState, verts: Array, distance: Array) -> tuple[Array, Array]:
    """Ribbons that always face the camera; light along a fibre after Kajiya and Kay (1989)."""
    moved = verts[scene.strand_anchor] - jnp.asarray(scene.verts)[scene.strand_anchor]
    root = scene.strand_points[:, :1]
    angle = _LASH_TURN * jnp.sum(scene.strand_blink * state.blink, -1)[:, None]
    offset = scene.strand_points - root
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack(
        [
            offset[..., 0],
            cosine * offset[..., 1] - sine * offset[..., 2],
            sine * offset[..., 1] + cosine * offset[..., 2],
        ],
        -1,
    )
    s, k, _ = turned.shape
    points = apply_pose((root + turned + moved[:, None]).reshape(-1, 3), state.head).reshape(s, k, 3)
    ahead = jnp.concatenate([points[:, 1:], points[:, -1:]], 1) - jnp.concatenate(
        [points[:, :1], points[:, :-1]], 1
    )
    tangent = normalize(ahead)
    view = _view_direction(points, distance)
    across = normalize(jnp.cross(tangent, view)) * scene.strand_half_width[..., None]
    normal = _turn(scene.strand_normal, state.head)[:, None]
    light = jnp.maximum(sh_basis(normal) @ scene.sh_light.T, 0.02)
    key = jnp.asarray(KEY_DIRECTION, jnp.float32)
    half = normalize(view + key)
    along = jnp.sum(tangent * half, -1)
    ring = jnp.sqrt(jnp.maximum(1 - along**2, 0.0))
    lit = jnp.clip(jnp.sum(normal * key, -1) + 0.35, 0.0, 1.0)
    shine = scene.strand_shine[:, None] * lit * (0.035 * ring**24 + 0.03 * ring**90)
    color = light * scene.strand_albedo + (0.4 + 4.0 * scene.strand_albedo) * shine[..., None]
    ribbon = jnp.stack([points - across, points + across], 2).reshape(-1, 3)
    n = ribbon.shape[0]
    color = jnp.broadcast_to(color[:, :, None], (s, k, 2, 3)).reshape(-1, 3)
    flat = [color, jnp.broadcast_to(jnp.asarray(_white_uv()), (n, 2)), jnp.zeros((n, 1))]
    return ribbon, jnp.concatenate(flat, -1)


def _draw_glints(state: FrameState) -> tuple[Array, Array]:
    points = apply_pose(jnp.asarray(glint_discs(), jnp.float32), state.head)
    row = jnp.concatenate([jnp.array([0.85, 0.86, 0.88]), jnp.asarray(_white_uv()), jnp.zeros(1)])
    return points, jnp.broadcast_to(row, (points.shape[0], 6))


def _tone(linear: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Exposure, soft shoulder, sRGB."""
    x = jnp.maximum(linear, 0.0)
    x = x * (1 + x / 2.4) / (1 + x)  # leaves shadows linear, reaches 1 at about 2.4
    x = jnp.clip(1.35 * x, 0.0, 1.0)
    return jnp.where(x <= 0.0031308, 12.92 * x, 1.055 * jnp.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


# Three programs, not one: in one, XLA on CPU fuses the texture's address arithmetic into every channel of
# every later use (300 ms a frame instead of 30).
@functools.partial(jax.jit, static_argnames=("width", "height"))
def _surface(scene: Scene, state: FrameState, *, width: int, height: int) -> tuple[Array, Array]:
    """Attributes [height width 6] of the visible surface and coverage [height width]."""
    camera = clip_camera(width, height)
    points, attributes, verts = _draw_mesh(scene, state, camera.distance)
    parts = [
        (points, attributes),
        _draw_shirt(scene, state),
        _draw_strands(scene, state, verts, camera.distance),
        _draw_glints(state),
    ]
    points = jnp.concatenate([p for p, _ in parts])
    attributes = jnp.concatenate([a for _, a in parts])
    fragments = rasterize(to_clip(points, camera, height, width), scene.topology, height, width)
    return interpolate(attributes, fragments, scene.topology), fragments.face_id >= 0


@jax.jit
def _texels(atlas: Float[Array, "th tw 4"], pixels: Float[Array, "h w 6"]) -> Float[Array, "h w 4"]:
    return sample_texture(atlas, pixels[..., 3:5])


@jax.jit
def _compose(pixels: Array, texels: Array, covered: Array, background: Array, key: Array) -> Array:
    color = pixels[..., :3] * texels[..., :3] + pixels[..., 5:6] * texels[..., 3:4]
    layer = jnp.where(covered[..., None], jnp.concatenate([color, covered[..., None]], -1), 0.0)
    height, width = background.shape[:2]
    boxes = layer.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE, 4).mean((1, 3))
    image = _tone(boxes[..., :3] + (1 - boxes[..., 3:]) * background)
    noise = 0.0045 * jax.random.normal(key, (height, width, 1))
    return jnp.round(jnp.clip(image + noise, 0.0, 1.0) * 255).astype(jnp.uint8)


def render_frame(
    scene: Scene, state: FrameState, background: Float[Array, "h w 3"], key: Array
) -> UInt8[Array, "h w 3"]:
    """One sRGB frame of the background's size. `background` is linear; `key` seeds the faint sensor noise."""
    height, width = background.shape[:2]
    pixels, covered = _surface(scene, state, width=width * SUPERSAMPLE, height=height * SUPERSAMPLE)
    return _compose(pixels, _texels(scene.atlas, pixels), covered, background, key)
