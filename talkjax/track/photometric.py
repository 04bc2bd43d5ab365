"""What landmarks do not see: a track moved until every frame shows the person's skin where the model puts it.

Points of the skin have one albedo over the clip; a frame's light makes colors of it that the frame should
show where the points project. The difference is one more term of the clip's Gauss-Newton problem (Lucas and
Kanade 1981; Baker and Matthews 2004), beside landmarks and the prior over time. Whether a point is seen
comes from the rasterizer; only points with texture pull, and outliers (a hand, a highlight) lose their
weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, UInt8
from scipy.spatial import cKDTree

from talkjax.face import mesh468
from talkjax.face.points import landmark_part, landmark_rows
from talkjax.face.pose import apply_pose, rotation
from talkjax.face.render import FaceRenderer
from talkjax.numerics import einsum
from talkjax.raster.camera import project
from talkjax.raster.texture import sample_texture
from talkjax.track import gauss_newton as gn
from talkjax.track.crop import CropTrack, crop_track, cut, stack_cameras
from talkjax.track.temporal import FaceTrack, smooth_track
from talkjax.track.texture import build_texture_bank, fit_light, light_on, texels_of, unwrap_points
from talkjax.types import SKIN, Camera, FaceModel, Pose

CROP = 256
N_POINTS = 1500
STRENGTH = 200.0
"""Weight of one point's squared color difference (colors in [0, 1]) beside landmark errors in % of the eye
distance; a scan from 100 to 1000 changed the picture by 0.05 dB."""

OUTLIER = 0.06
"""Color difference at which a point has half its weight (Geman and McClure's robust weight)."""

_POINT_GRID = 96  # texture size whose texels the points are drawn from
_EDGE_DM = 0.07
_SLOPE_STEP = 0.7  # px between which the picture's slope is taken


class SkinPoints(NamedTuple):
    """Points of the skin and their albedo: what a clip's frames have in common."""

    verts: np.ndarray  # [n 3]
    bary: np.ndarray  # [n 3]
    albedo: np.ndarray  # [n 3]


@struct.dataclass
class SkinModel:
    """The face at the points."""

    mean: Float[Array, "n 3"]
    exp_basis: Float[Array, "e n 3"]


class PictureTerm(NamedTuple):
    """The photometric term of a stretch of frames.

    crops: the head squares; cameras: theirs. target: color that each frame should show at each point,
    weight: how much it counts there (0 unseen).
    """

    skin: SkinModel
    crops: UInt8[np.ndarray, "t s s 3"]
    cameras: Camera
    target: Float[np.ndarray, "t n 3"]
    weight: Float[np.ndarray, "t n"]

    def rows(self, low: int, high: int) -> PictureTerm:
        cameras = jax.tree.map(lambda x: x[low:high], self.cameras)
        parts = (self.crops[low:high], cameras, self.target[low:high], self.weight[low:high])
        return PictureTerm(self.skin, *parts)

    def linearize(self, theta: np.ndarray) -> gn.Blocks:
        """Cost, gradient and Gauss-Newton matrix of every frame, in the units of the landmark term."""
        parts = []
        for k in range(len(theta)):  # one by one: a frame's Jacobian is megabytes
            camera = jax.tree.map(lambda x, k=k: x[k], self.cameras)
            given = (np.float32(theta[k]), self.crops[k], camera, self.target[k], self.weight[k])
            parts.append(_frame_blocks(self.skin, *given))
        return gn.Blocks(*(np.array([np.asarray(p[i]) for p in parts], np.float64) for i in range(3)))

    def cost(self, theta: np.ndarray) -> np.ndarray:
        """[t]."""
        out = np.zeros(len(theta))
        for k in range(len(theta)):
            camera = jax.tree.map(lambda x, k=k: x[k], self.cameras)
            given = (np.float32(theta[k]), self.crops[k], camera, self.target[k], self.weight[k])
            out[k] = _frame_cost(self.skin, *given)
        return out


def _colors(crop: Array, px: Array) -> Array:
    return sample_texture(crop, px[None] / crop.shape[0])[0]


def _robust(squared: Array) -> Array:
    """Geman and McClure: near the squared difference for small ones, at most OUTLIER^2."""
    return squared / (1 + squared / OUTLIER**2)


def _points_px(skin: SkinModel, theta: Array, camera: Camera) -> tuple[Array, Array]:
    verts = skin.mean + einsum("e,enc->nc", theta[gn.POSE_SIZE :], skin.exp_basis)
    return project(apply_pose(verts, Pose(euler=theta[:3], translation=theta[3:6])), camera), verts


@jax.jit
def _frame_cost(
    skin: SkinModel, theta: Array, crop: Array, camera: Camera, target: Array, weight: Array
) -> Array:
    picture = crop.astype(jnp.float32) / 255.0
    px, _ = _points_px(skin, theta, camera)
    squared = jnp.sum((_colors(picture, px) - target) ** 2, axis=-1)
    return STRENGTH * jnp.sum(weight * _robust(squared))


@jax.jit
def _frame_blocks(
    skin: SkinModel, theta: Array, crop: Array, camera: Camera, target: Array, weight: Array
) -> tuple[Array, Array, Array]:
    picture = crop.astype(jnp.float32) / 255.0
    px, verts = _points_px(skin, theta, camera)
    pose_jac = jax.jacfwd(lambda p: project(apply_pose(verts, Pose(euler=p[:3], translation=p[3:])), camera))(
        theta[:6]
    )
    vertex_jac = einsum("nac,cb->nab", pose_jac[..., 3:], rotation(theta[:3]))
    step = jnp.eye(2) * _SLOPE_STEP
    ahead = [_colors(picture, px + step[axis]) for axis in range(2)]
    behind = [_colors(picture, px - step[axis]) for axis in range(2)]
    slope = jnp.stack([(a - b) / (2 * _SLOPE_STEP) for a, b in zip(ahead, behind, strict=True)], axis=-1)
    exp_jac = einsum("nca,nab,enb->nce", slope, vertex_jac, skin.exp_basis)
    jacobian = jnp.concatenate([einsum("nca,nak->nck", slope, pose_jac), exp_jac], axis=-1)
    residual = _colors(picture, px) - target
    squared = jnp.sum(residual**2, axis=-1)
    pull = STRENGTH * weight / (1 + squared / OUTLIER**2) ** 2  # slope of the robust cost
    flat = (jacobian * jnp.sqrt(pull)[:, None, None]).reshape(-1, jacobian.shape[-1])
    rest = (residual * jnp.sqrt(pull)[:, None]).reshape(-1)
    cost = STRENGTH * jnp.sum(weight * _robust(squared))
    return cost, einsum("ri,r->i", flat, rest), einsum("ri,rj->ij", flat, flat)


class _Frames(NamedTuple):
    """A stretch of frames, cut out and unwrapped at the points."""

    crops: np.ndarray
    cameras: Camera
    colour: np.ndarray  # [t n 3]
    weight: np.ndarray  # [t n]
    normals: np.ndarray  # [t n 3]


def _unwrap_frames(
    renderer: FaceRenderer,
    points: tuple[np.ndarray, np.ndarray],
    track: FaceTrack,
    frame: Callable[[int], np.ndarray],
    camera: Camera,
) -> _Frames:
    squares: CropTrack = crop_track(track.pose, camera, renderer.model)
    cameras = stack_cameras(camera, squares, CROP)
    verts = renderer.verts_cam(track.exp_coeffs, track.pose)
    seen = np.asarray(track.valid)
    crops, parts = [], []
    for k in range(len(seen)):
        crops.append(cut(frame(k), squares.center[k], float(squares.side[k]), CROP))
        own = jax.tree.map(lambda x, k=k: x[k], cameras)
        parts.append(unwrap_points(renderer, *points, crops[k], verts[k], own))
    colour, weight, normals = (np.stack(values) for values in zip(*parts, strict=True))
    return _Frames(np.stack(crops), cameras, colour, weight * seen[:, None], normals)


def _albedo(seen: _Frames) -> np.ndarray:
    colour, weight = _bytes(seen.colour), _bytes(seen.weight)
    skin = np.zeros(colour.shape[1], int)
    return build_texture_bank(colour, weight, seen.normals.astype(np.float16), skin).mean


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def _chosen_points(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """`N_POINTS` points of the skin, evenly over its texture, away from the openings of mouth and eyes.

    There a color says little of where the skin is: teeth, shadow and lashes come and go with the expression.
    """
    texels = texels_of(model, _POINT_GRID)
    places = np.einsum("nk,nkc->nc", texels.bary, np.asarray(model.mean)[texels.verts])
    edges = landmark_rows(model, np.concatenate([mesh468.INNER_LIPS, mesh468.RIGHT_EYE, mesh468.LEFT_EYE]))
    near = cKDTree(landmark_part(model).mean[edges]).query(places)[0] < _EDGE_DM
    skin = np.flatnonzero((texels.region == SKIN) & ~near)
    chosen = skin[np.linspace(0, len(skin) - 1, min(N_POINTS, len(skin))).round().astype(int)]
    return texels.verts[chosen], texels.bary[chosen]


def picture_term(
    model: FaceModel,
    track: FaceTrack,
    frame: Callable[[int], np.ndarray],
    camera: Camera,
    skin: SkinPoints | None = None,
) -> tuple[PictureTerm, SkinPoints]:
    """The term of frames about a track: light, visibility and normals are those of the track.

    Without `skin`, points are chosen and get the albedo that these frames give them.
    """
    verts, bary = _chosen_points(model) if skin is None else (skin.verts, skin.bary)
    seen = _unwrap_frames(FaceRenderer.from_model(model), (verts, bary), track, frame, camera)
    if skin is None:
        skin = SkinPoints(verts, bary, _albedo(seen))
    target = np.empty_like(seen.colour)
    for k, normals in enumerate(seen.normals):
        light = fit_light(seen.colour[k], seen.weight[k], normals, skin.albedo)
        target[k] = skin.albedo * light_on(normals, light)
    corners = jnp.asarray(bary)[..., None]

    def at(values: Array) -> Array:
        return jnp.sum(corners * values[..., verts, :], axis=-2)

    at_points = SkinModel(mean=at(model.mean), exp_basis=at(model.exp_basis))
    return PictureTerm(at_points, seen.crops, seen.cameras, target, seen.weight), skin


def refine_track(
    model: FaceModel,
    track: FaceTrack,
    landmarks: np.ndarray,
    frame: Callable[[int], np.ndarray],
    camera: Camera,
    skin: SkinPoints | None = None,
) -> tuple[FaceTrack, SkinPoints]:
    """A track of landmarks made to agree with the picture.

    Args:
      model: the person, without joints; identity in its mean.
      landmarks: [t 478 3] px, as the track was fitted to.
      frame: k -> [h w 3] uint8 RGB, frame k of the track; asked once for each in order.
      skin: albedo of the person; from this clip when omitted.

    Returns:
      The track; frames that were not seen are bridged anew. And the skin's albedo before refinement.
    """
    term, skin = picture_term(model, track, frame, camera, skin)
    return smooth_track(model, track, landmarks, camera, term), skin
