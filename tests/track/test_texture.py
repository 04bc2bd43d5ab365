"""Unwrapping and light: a rendered face gives its colours back, lit colours fall apart as they were made."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.lighting import AMBIENT, irradiance, sh_basis
from talkjax.face.person import person_model
from talkjax.face.render import FaceRenderer, render_layers
from talkjax.track import texture
from talkjax.track.texture import Unwrapper
from talkjax.types import MOUTH, SKIN, Camera, Pose
from tests.oracles.drawn_face import drawn_neutral

SIZE = 192
TEXTURE = 96
BAND0 = float(np.asarray(sh_basis(jnp.array([[0.0, 0.0, 1.0]])))[0, 0])
DIMMED = 0.8


def _flat_light() -> np.ndarray:
    """[3 9] the same light from everywhere, `DIMMED` on every normal."""
    sh = np.zeros((3, 9), np.float32)
    sh[:, 0] = DIMMED / BAND0 - AMBIENT
    return sh


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    return FaceRenderer.from_model(person_model(drawn_neutral(), n_id=2))


@pytest.fixture(scope="module")
def unwrapper(renderer) -> Unwrapper:
    return Unwrapper(renderer, TEXTURE)


@pytest.fixture(scope="module")
def camera() -> Camera:
    """Sees the face 140 px wide in a square of SIZE."""
    return Camera(jnp.float32(1000.0), jnp.array([SIZE / 2, SIZE / 2 - 25.0]), jnp.float32(10.0))


def _painted() -> np.ndarray:
    """A smooth texture whose colour tells the place: red along u, green along v."""
    at = (np.arange(TEXTURE) + 0.5) / TEXTURE
    u, v = np.meshgrid(at, at)
    return np.stack([0.2 + 0.6 * u, 0.2 + 0.6 * v, 0.5 + 0.2 * np.sin(6 * u)], -1).astype(np.float32)


def _shot(renderer: FaceRenderer, camera: Camera, yaw: float, jaw: float) -> tuple[np.ndarray, jnp.ndarray]:
    """The painted face as a uint8 crop, and its vertices."""
    exp = np.zeros(len(renderer.model.exp_names), np.float32)
    exp[renderer.model.exp_names.index("jawOpen")] = jaw
    pose = Pose(jnp.array([0.05, yaw, 0.02]), jnp.zeros(3))
    lit, _ = render_layers(
        renderer, jnp.asarray(exp), pose, jnp.asarray(_flat_light()), jnp.asarray(_painted()), camera, SIZE
    )
    crop = np.clip(np.asarray(lit) * 255 + 0.5, 0, 255).astype(np.uint8)
    return crop, renderer.verts_cam(jnp.asarray(exp), pose)


def test_texels_lie_where_their_centres_are_in_uv(renderer, unwrapper):
    texels = unwrapper.texels
    uvs = np.asarray(renderer.model.uvs)
    there = np.einsum("nk,nkc->nc", texels.bary, uvs[texels.verts])
    centres = (np.stack([texels.used % TEXTURE, texels.used // TEXTURE], 1) + 0.5) / TEXTURE
    np.testing.assert_allclose(there, centres, atol=0.02 / TEXTURE)
    assert 0.5 < len(texels.used) / TEXTURE**2 < 0.95 and {SKIN, MOUTH} <= set(texels.region.tolist())
    values = np.random.default_rng(0).uniform(size=(len(texels.used), 3))
    image = texels.image(values)
    np.testing.assert_array_equal(image.reshape(-1, 3)[texels.used], values)


def test_a_rendered_face_unwraps_to_its_own_texture(renderer, unwrapper, camera):
    truth = _painted().reshape(-1, 3)[unwrapper.texels.used]
    for yaw in (0.0, 0.5, -0.5):
        crop, verts = _shot(renderer, camera, yaw, jaw=0.3)
        colour, weight, normals = unwrapper(crop, verts, camera)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
        seen = (weight > 0.1) & (unwrapper.texels.region == SKIN)
        assert seen.mean() > 0.35
        error = np.abs(colour[seen] - DIMMED * truth[seen]).max(1)
        assert np.median(error) < 0.006  # grey levels: 1.5
        assert np.mean(error > 0.04) < 0.02  # nothing hidden passes as seen
        assert weight.min() >= 0 and weight.max() <= 1


def test_what_faces_away_is_hidden_or_outside_weighs_nothing(renderer, unwrapper, camera):
    crop, verts = _shot(renderer, camera, 0.7, jaw=0.0)
    _, weight, normals = unwrapper(crop, verts, camera)
    skin = unwrapper.texels.region == SKIN
    away = skin & (normals[:, 2] < 0)
    assert away.sum() > 20 and weight[away].max() == 0
    points = np.einsum("nk,nkc->nc", unwrapper.texels.bary, np.asarray(verts)[unwrapper.texels.verts])
    aside = camera.replace(center=camera.center + jnp.array([SIZE / 2, 0.0]))  # half the face leaves the crop
    _, weight, _ = unwrapper(crop, verts, aside)
    column = SIZE + 1000.0 * points[:, 0] / (10.0 - points[:, 2])
    assert weight[column > SIZE + 1].max() == 0 and weight[column < SIZE - 1].max() > 0.3


def test_a_mouth_counts_as_much_as_it_is_open(renderer, unwrapper, camera):
    inside = unwrapper.texels.region == MOUTH
    weights = []
    for jaw in (0.0, 0.3, 0.9):
        crop, verts = _shot(renderer, camera, 0.0, jaw)
        weights.append(float(np.median(unwrapper(crop, verts, camera)[1][inside])))
    assert 0 <= weights[0] < 0.05 < weights[1] < weights[2]


# ------------------------------------------------------------------------------------ light


def _half_sphere(n: int, seed: int) -> np.ndarray:
    normals = np.random.default_rng(seed).normal(size=(n, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _lamp(rng: np.random.Generator, strength: float = 0.08) -> np.ndarray:
    """[3 9] soft light around the flat one."""
    sh = _flat_light() + rng.normal(0, strength, (3, 9)) * np.r_[0.3, 1, 1, 1, [0.3] * 5]
    return sh.astype(np.float32)


def test_light_on_a_known_face_is_recovered():
    rng = np.random.default_rng(0)
    normals, albedo = _half_sphere(3000, 1), rng.uniform(0.2, 0.9, (3000, 3))
    weight = rng.uniform(0.1, 1, 3000)
    sh = _lamp(rng)
    lit = np.asarray(irradiance(jnp.asarray(normals), jnp.asarray(sh)))
    colour = albedo * lit + rng.normal(0, 0.005, (3000, 3))
    colour[::10] = 9.0  # nonsense where nothing is seen
    weight[::10] = 0
    fitted = texture.fit_light(colour, weight, normals, albedo)
    relit = texture.light_on(normals, fitted)
    assert np.abs(relit - lit).mean() < 0.01 * lit.mean()


def test_light_is_never_zero_so_that_it_can_be_divided_by():
    dark = np.zeros((3, 9), np.float32)
    dark[:, 0] = -5.0
    assert texture.light_on(_half_sphere(50, 2), dark).min() == pytest.approx(0.05)


@pytest.fixture(scope="module")
def lit_face() -> tuple[np.ndarray, ...]:
    """A turning face of 800 texels in 40 frames, each with its own lamp: colours, weights, normals, albedo,
    light; texel 5 is never seen, texels from 700 on are mouth, brighter in the second half of the clip."""
    rng = np.random.default_rng(3)
    t, n = 40, 800
    albedo = rng.uniform(0.25, 0.8, (n, 3))
    neutral = _half_sphere(n, 4)
    colours, weights = np.zeros((t, n, 3), np.uint8), np.zeros((t, n), np.uint8)
    normals, light = np.zeros((t, n, 3), np.float16), np.zeros((t, n, 3))
    for k in range(t):
        yaw, pitch = rng.normal(0, 0.25, 2)
        c, s, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turned = (
            neutral
            @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
            @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        )
        light[k] = np.asarray(irradiance(jnp.asarray(turned), jnp.asarray(_lamp(rng, 0.06))))
        look = albedo * np.where((np.arange(n) >= 700) & (k >= t // 2), 1.2, 1.0)[:, None]
        colours[k] = np.clip(look * light[k] * 255 + 0.5, 0, 255)
        weights[k] = np.where(turned[:, 2] > 0.15, 255 * np.clip(turned[:, 2], 0, 1) ** 2, 0)
        normals[k] = turned
    weights[:, 5] = 0
    colours[weights == 0] = 255  # another part of the picture
    return colours, weights, normals, albedo, light


def test_albedo_and_light_of_a_lit_face(lit_face):
    colours, weights, normals, albedo, light = lit_face
    region = np.where(np.arange(800) >= 700, MOUTH, SKIN)
    bank = texture.build_texture_bank(colours, weights, normals, region)
    often = (weights > 100).sum(0) > 20
    skin = often & (region == SKIN)
    # only the product is seen: one gain per channel is free
    gain = np.median(bank.mean[skin] / albedo[skin], axis=0)
    assert np.abs(gain - DIMMED).max() < 0.1  # flat light of 1 is the rest that light is drawn to
    np.testing.assert_allclose(bank.mean[skin] / gain, albedo[skin], rtol=0.12)
    assert np.median(np.abs(bank.mean[skin] / gain / albedo[skin] - 1)) < 0.03
    for k in (0, 19, 33):
        seen = skin & (weights[k] > 60)
        relit = bank.mean * texture.light_on(normals[k].astype(np.float32), bank.sh_coeffs[k])
        np.testing.assert_allclose(relit[seen], (albedo * light[k])[seen], atol=0.04)
    assert np.all(bank.weights[:, 5] == 0) and np.isfinite(bank.mean).all()


def test_what_light_cannot_explain_stays_in_the_frames(lit_face):
    colours, weights, normals, _, _ = lit_face
    region = np.where(np.arange(800) >= 700, MOUTH, SKIN)
    bank = texture.build_texture_bank(colours, weights, normals, region)
    mouth = np.flatnonzero((region == MOUTH) & ((weights > 60).sum(0) > 35))
    assert len(mouth) > 20

    def level(frames: slice) -> float:
        values = bank.frames[frames][:, mouth].astype(float) / texture.ALBEDO_SCALE
        seen = weights[frames][:, mouth] > 60
        return float(values[seen].mean())

    assert level(slice(20, 40)) / level(slice(0, 20)) == pytest.approx(1.2, abs=0.04)
