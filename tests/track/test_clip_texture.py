"""Texture and light of a rendered clip whose albedo and lamps are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.camera import clip_camera
from talkjax.face.lighting import AMBIENT, irradiance, sh_basis
from talkjax.face.person import person_model
from talkjax.face.render import FaceRenderer, render_layers
from talkjax.track.clip_fit import ClipFit
from talkjax.track.clip_texture import ClipTexture, texture_of_clip
from talkjax.track.temporal import FaceTrack
from talkjax.track.texture import texels_of
from talkjax.types import SKIN, Pose
from tests.oracles.drawn_face import drawn_neutral

pytestmark = [pytest.mark.slow, pytest.mark.long]

T, SIDE = 14, 224
BAND0 = float(np.asarray(sh_basis(jnp.array([[0.0, 0.0, 1.0]])))[0, 0])


@pytest.fixture(scope="module")
def clip() -> tuple[ClipFit, list[np.ndarray], np.ndarray, np.ndarray]:
    """A turning head under lamps that change: fit (the truth), frames, texture coefficients, light."""
    rng = np.random.default_rng(0)
    model = person_model(drawn_neutral(), n_id=2)
    verts = np.asarray(model.mean)
    waves = [
        np.cos(verts @ rng.uniform(-4, 4, 3) + rng.uniform(0, 6))[:, None] * rng.normal(size=3)
        for _ in "abcd"
    ]
    basis, truth = 0.06 * np.stack(waves), rng.normal(size=4)
    mean = np.tile([0.6, 0.5, 0.45], (468, 1))
    model = model.replace(tex_mean=jnp.float32(mean), tex_basis=jnp.float32(basis))
    texels = texels_of(model, 256)
    albedo = mean + np.einsum("x,xvc->vc", truth, basis)
    texture = texels.image(np.einsum("nk,nkc->nc", texels.bary, albedo[texels.verts])).astype(np.float32)
    sway = np.linspace(-1, 1, T)
    euler = np.stack([0.1 * np.sin(5 * sway), 0.55 * sway, 0.05 * sway], 1).astype(np.float32)
    pose = Pose(jnp.asarray(euler), jnp.tile(jnp.array([0.0, 0.2, 6.6], jnp.float32), (T, 1)))
    exp = jnp.zeros((T, 43), jnp.float32)
    sh = np.zeros((T, 3, 9), np.float32)
    sh[..., 0] = 0.95 / BAND0 - AMBIENT
    sh[..., 1:4] = rng.normal(0, 0.04, (T, 1, 3))
    camera, renderer = clip_camera(SIDE, SIDE), FaceRenderer.from_model(model)
    frames = []
    for k in range(T):
        lit, region = render_layers(
            renderer,
            exp[k],
            jax.tree.map(lambda x, k=k: x[k], pose),
            jnp.asarray(sh[k]),
            jnp.asarray(texture),
            camera,
            SIDE,
        )
        shown = np.where(np.asarray(region)[..., None] >= 0, np.asarray(lit), [0.1, 0.6, 0.1])  # a green room
        frames.append(np.clip(shown * 255 + 0.5, 0, 255).astype(np.uint8))
    track = FaceTrack(pose, exp, jnp.ones(T, bool))
    return ClipFit(model, np.zeros(2, np.float32), track), frames, truth, sh


def _relative(image: np.ndarray, clip) -> np.ndarray:
    """Found over true albedo [n 3] at the skin's texels, the free gain of each color divided out."""
    fit, _, truth, _ = clip
    texels = texels_of(fit.model, image.shape[0])
    vertex = np.asarray(fit.model.tex_mean) + np.einsum("x,xvc->vc", truth, np.asarray(fit.model.tex_basis))
    true = np.einsum("nk,nkc->nc", texels.bary, vertex[texels.verts])
    ratio = (image.reshape(-1, 3)[texels.used] / true)[texels.region == SKIN]
    return ratio / np.median(ratio, axis=0)


@pytest.fixture(scope="module", params=["clip", "model"])
def found(request, clip) -> tuple[str, ClipTexture]:
    """What is made of the frames, from both sources."""
    fit, frames, _, _ = clip
    modes = 2 if request.param == "clip" else 0
    camera = clip_camera(SIDE, SIDE)
    return request.param, texture_of_clip(fit, camera, frames, source=request.param, modes=modes)


def test_albedo_is_the_persons_everywhere(clip, found):
    source, texture = found
    assert (
        texture.image[..., 1].max() < 0.9 and np.isfinite(texture.image).all()
    )  # no green room at the border
    off = np.abs(_relative(texture.image, clip) - 1)
    if source == "clip":
        assert np.median(off) < 0.03 and np.percentile(off, 95) < 0.15
        assert 0.5 < texture.seen <= 1 and texture.modes.shape[0] == 2 and texture.mode_coeffs.shape == (T, 2)
    else:
        assert np.percentile(off, 90) < 0.06 and np.corrcoef(texture.tex_coeffs, clip[2])[0, 1] > 0.9


def test_light_follows_the_lamps(clip, found):
    sh, found_sh = clip[3], found[1].sh_coeffs
    normals = np.random.default_rng(1).normal(size=(300, 3))
    normals = jnp.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))[normals[:, 2] > 0.4]
    for k in (0, T // 2, T - 1):
        true, seen = (np.asarray(irradiance(normals, jnp.asarray(light))) for light in (sh[k], found_sh[k]))
        change = [light / light.mean(0) for light in (true, seen)]
        assert np.abs(change[0] - change[1]).mean() < 0.04
