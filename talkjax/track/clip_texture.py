"""Texture and light of a tracked clip, in one pass over its frames and bounded memory.

A few texels of every frame tell its light; all texels of a choice of frames make the albedo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from talkjax.face.model import face_verts
from talkjax.face.pose import apply_pose
from talkjax.face.render import FaceRenderer
from talkjax.track.clip_fit import ClipFit
from talkjax.track.crop import crop_track, cut, native_size, stack_cameras
from talkjax.track.texture import (
    Texels,
    TextureBank,
    Unwrapper,
    build_texture_bank,
    fit_light,
    light_on,
    texels_of,
    vertex_texels,
)
from talkjax.track.texture_fill import (
    complete_albedo,
    fit_tex_coeffs,
    residual_basis,
    seen_share,
    smooth_fill,
)
from talkjax.types import SKIN, Camera, FaceModel, Pose

TEXTURE_SIZE = 384
MAX_FRAMES = 120
"""Frames that make the albedo; more of a clip of one person add little but memory."""

LIGHT_TEXELS = 3000
"""Texels of the skin that tell a frame's light."""
_ROUNDS = 3  # of (light, texture coefficients)


class ClipTexture(NamedTuple):
    """Texture of a clip.

    image: `[s s 3]` float32 albedo, complete; 1 is white under the light of the clip. seen: share of the
    skin's texels that frames show well. sh_coeffs: `[t 3 9]`. tex_coeffs: `[x]` in the model's own texture
    axes, empty without. modes: `[k s s 3]` and mode_coeffs `[u k]` of frames mode_frames `[u]`, empty unless
    asked for.
    """

    image: np.ndarray
    seen: float
    sh_coeffs: np.ndarray
    tex_coeffs: np.ndarray
    modes: np.ndarray
    mode_coeffs: np.ndarray
    mode_frames: np.ndarray


def frame_verts(fit: ClipFit, k: int) -> Float[Array, "v 3"]:
    """Camera-space vertices of frame k, dm."""
    track = jax.tree.map(lambda rows: np.asarray(rows)[k], fit.track)  # numpy's indexing costs no program
    return _posed_verts(fit.model, track.exp_coeffs, track.pose)


@jax.jit
def _posed_verts(model: FaceModel, exp_coeffs: Float[Array, "e"], pose: Pose) -> Float[Array, "v 3"]:
    return apply_pose(face_verts(model, jnp.zeros(model.id_basis.shape[0]), exp_coeffs), pose)


class _Sheet:
    """Unwrapped colors of some frames, in the compact types of `build_texture_bank`."""

    def __init__(self, renderer: FaceRenderer, texels: Texels):
        self.unwrap = Unwrapper(renderer, texels)
        self.colors: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.normals: list[np.ndarray] = []

    def add(self, seen: tuple[np.ndarray, Array, Camera, Array], trusted: bool) -> None:
        """Takes the colors of a frame, given as `Unwrapper.__call__` wants it."""
        color, weight, normal = self.unwrap(*seen)
        self.colors.append(np.clip(color * 255 + 0.5, 0, 255).astype(np.uint8))
        self.weights.append(np.clip(weight * trusted * 255 + 0.5, 0, 255).astype(np.uint8))
        self.normals.append(normal.astype(np.float16))

    def bank(self) -> TextureBank:
        colors, weights, normals = (np.stack(rows) for rows in (self.colors, self.weights, self.normals))
        return build_texture_bank(colors, weights, normals, self.unwrap.texels.region)

    def lights(self, albedo: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "t 3 9"]:
        rows = zip(self.colors, self.weights, self.normals, strict=True)
        as_shares = ((c / np.float32(255), w / np.float32(255), n.astype(np.float32)) for c, w, n in rows)
        return np.stack([fit_light(*row, albedo) for row in as_shares])


def _chosen(valid: np.ndarray) -> np.ndarray:
    frames = np.flatnonzero(valid)
    return frames[np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round().astype(int)]


def texture_of_clip(
    fit: ClipFit,
    camera: Camera,
    frames: Iterable[np.ndarray],
    *,
    source: str = "clip",
    modes: int = 0,
    ticked: Callable[[], object] = lambda: None,
) -> ClipTexture:
    """Albedo and light of the clip that `fit` explains.

    Args:
      frames: uint8 RGB, the fit's frames in order.
      source: "clip", unwrapped from the frames; "model", the fit of the model's own texture space, which it
        must have.
      modes: components of the frame-to-frame change to keep ("clip" only).
      ticked: called after each frame.
    """
    renderer = FaceRenderer.from_model(fit.model)
    crops = crop_track(fit.track.pose, camera)
    texels = vertex_texels(fit.model) if source == "model" else texels_of(fit.model, TEXTURE_SIZE)
    skin = np.flatnonzero(texels.region == SKIN)
    few = skin[np.linspace(0, len(skin) - 1, min(len(skin), LIGHT_TEXELS)).round().astype(int)]
    small, large = _Sheet(renderer, texels.some(few)), _Sheet(renderer, texels)
    size = native_size(crops)
    cameras = jax.tree.map(np.asarray, stack_cameras(camera, crops, size))
    valid = np.asarray(fit.track.valid)
    chosen = _chosen(valid)
    wanted = set(chosen.tolist())
    for k, frame in enumerate(frames):
        crop = cut(frame, crops.center[k], float(crops.side[k]), size)
        seen_by, verts_cam = jax.tree.map(lambda x, k=k: x[k], cameras), frame_verts(fit, k)
        seen = crop, verts_cam, seen_by, small.unwrap.depth(verts_cam, seen_by, size)
        small.add(seen, bool(valid[k]))
        if k in wanted:
            large.add(seen, True)
        ticked()
    if source == "model":
        return _from_model(fit.model, small, large, few)
    return _from_clip(fit.model, small, large, few, chosen, modes)


def _from_clip(
    model: FaceModel, small: _Sheet, large: _Sheet, few: np.ndarray, chosen: np.ndarray, modes: int
) -> ClipTexture:
    bank, texels = large.bank(), large.unwrap.texels
    seen = seen_share(bank.weights)
    image = complete_albedo(texels, model, bank.mean, seen)
    kept = residual_basis(bank, min(modes, len(chosen))) if modes else None
    skin = texels.region == SKIN
    return ClipTexture(
        image=image,
        seen=float(seen[skin].mean()),
        sh_coeffs=small.lights(image.reshape(-1, 3)[texels.used[few]]),
        tex_coeffs=np.zeros(0, np.float32),
        modes=np.zeros((0, texels.size, texels.size, 3), np.float32)
        if kept is None
        else np.stack([_spread(texels, mode) for mode in kept.modes]),
        mode_coeffs=np.zeros((0, 0), np.float32) if kept is None else kept.coeffs,
        mode_frames=chosen if kept is not None else chosen[:0],
    )


def _spread(texels: Texels, values: np.ndarray) -> np.ndarray:
    plane = np.zeros((texels.size**2, 3), np.float32)
    plane[texels.used] = values
    return plane.reshape(texels.size, texels.size, 3)


def _from_model(model: FaceModel, small: _Sheet, large: _Sheet, few: np.ndarray) -> ClipTexture:
    mean, basis = np.asarray(model.tex_mean), np.asarray(model.tex_basis)
    colors = np.stack(large.colors).astype(np.float32) / 255
    weights = np.stack(large.weights).astype(np.float32) / 255
    weights *= large.unwrap.texels.region == SKIN
    normals = np.stack(large.normals).astype(np.float32)
    albedo, coeffs = mean, np.zeros(len(basis), np.float32)
    for _ in range(_ROUNDS):
        sh = [fit_light(c, w, n, albedo) for c, w, n in zip(colors, weights, normals, strict=True)]
        light = np.stack([light_on(n, s) for n, s in zip(normals, sh, strict=True)])
        coeffs = fit_tex_coeffs(mean, basis, colors, weights, light)
        albedo = mean + np.einsum("x,xvc->vc", coeffs, basis)
    texels = texels_of(model, TEXTURE_SIZE)
    painted = _spread(texels, np.einsum("nk,nkc->nc", texels.bary, albedo[texels.verts]))
    used = np.zeros(texels.size**2, np.float32)
    used[texels.used] = 1
    return ClipTexture(
        image=smooth_fill(painted, used.reshape(texels.size, -1)),
        seen=1.0,
        sh_coeffs=small.lights(albedo[few]),
        tex_coeffs=coeffs,
        modes=np.zeros((0, texels.size, texels.size, 3), np.float32),
        mode_coeffs=np.zeros((0, 0), np.float32),
        mode_frames=np.zeros(0, int),
    )
