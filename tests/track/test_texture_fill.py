"""Albedo where nothing was seen, modes of change, and the coefficients of a texture space."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.person import person_model
from talkjax.face.points import at_vertices, vertex_points
from talkjax.track import texture_fill
from talkjax.track.texture import ALBEDO_SCALE, Texels, TextureBank, opening_points, vertex_texels
from talkjax.track.texture import _openings as openings
from talkjax.types import EYES, MOUTH, SKIN, FaceModel, SurfacePoints
from tests.oracles.drawn_face import drawn_neutral

SIDE = 24


def test_smooth_fill_keeps_what_is_known_and_goes_on_smoothly():
    x, y = np.meshgrid(np.arange(40.0), np.arange(33.0))
    image = np.stack([0.2 + 0.01 * x, 0.3 + 0.01 * y, np.full_like(x, 0.5)], -1)
    weight = np.ones((33, 40))
    weight[10:20, 12:25] = 0
    spoiled = np.where(weight[..., None] > 0, image, 9.0)
    filled = texture_fill.smooth_fill(spoiled, weight)
    np.testing.assert_allclose(filled[weight > 0], image[weight > 0], atol=1e-6)
    np.testing.assert_allclose(filled, image, atol=0.04)
    np.testing.assert_allclose(filled[..., 2], 0.5, atol=1e-5)  # a constant stays one
    only = np.zeros((33, 40))
    only[5, 7] = 1
    np.testing.assert_allclose(
        texture_fill.smooth_fill(image, only), np.broadcast_to(image[5, 7], image.shape), atol=1e-5
    )


def _sheet() -> tuple[Texels, FaceModel, np.ndarray, np.ndarray]:
    """A curved square with a texel on every vertex, x from -0.6 to 0.6 dm about the middle."""
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, SIDE), np.linspace(0.6, -0.6, SIDE))
    x, y = x.reshape(-1), y.reshape(-1)
    verts = np.stack([x, y, 0.5 - 0.3 * x**2], 1)
    n = len(verts)
    model = person_model(drawn_neutral(), n_id=1)
    model = at_vertices(model, np.zeros(n, int)).replace(mean=jnp.asarray(verts, jnp.float32))
    texels = Texels(
        size=SIDE,
        used=np.arange(n),
        verts=np.repeat(np.arange(n)[:, None], 3, 1),
        bary=np.tile([1.0, 0, 0], (n, 1)),
        region=np.full(n, SKIN),
        fill=np.arange(n),
    )
    return texels, model, x, y


def test_the_unseen_half_is_the_other_half_without_a_seam():
    texels, model, x, y = _sheet()
    spots = 0.15 * np.sin(12 * np.abs(x)) * np.cos(9 * y)  # symmetric
    albedo = np.stack(
        [0.5 + spots + 0.1 * x, 0.4 - spots, np.full_like(x, 0.3)], 1
    )  # red: brighter to the right
    seen = (x < 0.15).astype(np.float32)
    spoiled = np.where(seen[:, None] > 0, albedo, 7.0)
    done = texture_fill.complete_albedo(texels, model, spoiled, seen).reshape(-1, 3)
    np.testing.assert_allclose(done[seen > 0], albedo[seen > 0], atol=1e-5)
    hidden = seen == 0
    np.testing.assert_allclose(done[hidden, 1:], albedo[hidden, 1:], atol=0.02)
    assert np.abs(done[hidden, 0] - albedo[hidden, 0]).max() < 0.13  # the slope of red is not known there
    edge = np.abs(np.diff(done.reshape(SIDE, SIDE, 3), axis=1))
    assert edge.max() < 1.5 * np.abs(np.diff(albedo.reshape(SIDE, SIDE, 3), axis=1)).max()


def test_where_both_halves_are_unseen_color_flows_in():
    texels, model, x, y = _sheet()
    albedo = np.tile([0.6, 0.4, 0.3], (len(x), 1))
    seen = (y < 0.3).astype(np.float32)
    spoiled = np.where(seen[:, None] > 0, albedo, 0.0)
    done = texture_fill.complete_albedo(texels, model, spoiled, seen).reshape(-1, 3)
    np.testing.assert_allclose(done, albedo, atol=1e-4)


def test_only_good_views_count():
    weights = np.zeros((20, 4), np.uint8)
    weights[:, 1] = 255
    weights[:, 2] = 10  # seen in all frames, at a grazing angle
    weights[:3, 3] = 255  # seen well in a few
    np.testing.assert_allclose(texture_fill.seen_share(weights), [0, 1, 0, 1])


def test_modes_are_the_principal_components_of_what_is_left():
    rng = np.random.default_rng(0)
    t, n = 12, 300
    mean = rng.uniform(0.4, 0.6, (n, 3))
    shape = rng.normal(0, 0.05, (2, n, 3))
    strength = rng.normal(size=(t, 2))
    frames = mean + np.einsum("tk,knc->tnc", strength, shape)
    stored = np.clip(frames * ALBEDO_SCALE + 0.5, 0, 255).astype(np.uint8)
    bank = TextureBank(np.float32(mean), stored, np.full((t, n), 255, np.uint8), np.zeros((t, 3, 9)))
    kept = texture_fill.residual_basis(bank, 2)
    np.testing.assert_allclose(np.einsum("inc,jnc->ij", kept.modes, kept.modes), np.eye(2), atol=1e-4)
    again = mean + np.einsum("tk,knc->tnc", kept.coeffs, kept.modes)
    assert np.abs(again - frames).max() < 2.0 / ALBEDO_SCALE and kept.share.sum() > 0.99
    values = np.linalg.svd((stored / np.float32(ALBEDO_SCALE) - mean).reshape(t, -1), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(kept.coeffs, axis=0), values[:2], rtol=1e-3)
    with pytest.raises(ValueError, match="13 modes of 12"):
        texture_fill.residual_basis(bank, 13)


def test_coefficients_of_a_texture_space_under_changing_light():
    rng = np.random.default_rng(1)
    v, t = 400, 6
    mean, basis = rng.uniform(0.4, 0.6, (v, 3)), rng.normal(0, 0.05, (5, v, 3))
    truth = rng.normal(size=5)
    light = rng.uniform(0.5, 1.2, (t, v, 3))
    colors = light * (mean + np.einsum("x,xvc->vc", truth, basis)) + rng.normal(0, 0.01, (t, v, 3))
    weights = rng.uniform(0, 1, (t, v))
    colors[:, :50], weights[:, :50] = 5.0, 0.0  # never seen
    found = texture_fill.fit_tex_coeffs(mean, basis, colors, weights, light, prior=1e-6)
    np.testing.assert_allclose(found, truth, atol=0.02)
    assert np.abs(texture_fill.fit_tex_coeffs(mean, basis, colors, weights, light, prior=1e3)).max() < 0.01


# ------------------------------------------------- openings for landmarks inside triangles


def test_openings_are_measured_at_the_landmarks_wherever_they_lie():
    model = person_model(drawn_neutral(), n_id=1)
    verts = np.asarray(model.mean) + 0.1 * np.asarray(model.exp_basis[0])
    eyes = np.linalg.norm(verts[33] - verts[263])
    lips = np.linalg.norm(verts[13] - verts[14]) / eyes
    lids = (np.linalg.norm(verts[159] - verts[145]) + np.linalg.norm(verts[386] - verts[374])) / eyes
    points = opening_points(model)
    np.testing.assert_allclose(openings(jnp.asarray(verts), points), [lips, lids], rtol=1e-5)
    # the same face with every landmark inside a triangle: three new vertices around each old one
    around = np.array([[0.01, 0, 0], [-0.01, 0.02, 0], [0, -0.02, 0.01]])
    bary = np.array([0.5, 0.25, 0.25])
    shifted = (verts[:, None] + around - bary @ around).reshape(-1, 3)
    number = np.arange(468)[::-1].copy()
    inside = SurfacePoints(
        jnp.asarray(number),
        jnp.asarray(3 * number[:, None] + np.arange(3)),
        jnp.asarray(np.tile(bary, (468, 1)), jnp.float32),
    )
    other = opening_points(model.replace(landmarks=inside))
    np.testing.assert_allclose(openings(jnp.asarray(shifted), other), [lips, lids], rtol=1e-4)
    few = model.replace(landmarks=vertex_points(np.arange(100), np.arange(100)))
    assert opening_points(few) is None and openings(jnp.asarray(verts), None) == (1.0, 1.0)


def test_vertices_as_texels_know_their_region():
    model = person_model(drawn_neutral(), n_id=1)
    texels = vertex_texels(model)
    assert texels.used.tolist() == list(range(468)) and set(texels.region.tolist()) == {SKIN}
    faces = np.asarray(model.faces)
    region = np.where(np.asarray(model.face_region) == SKIN, MOUTH, EYES)
    inner = vertex_texels(model.replace(face_region=jnp.asarray(region)))
    eye = np.unique(faces[region == EYES])
    assert (inner.region[eye] == EYES).all() and set(inner.region.tolist()) == {MOUTH, EYES}
    some = texels.some(np.array([3, 5]))
    assert some.used.tolist() == [3, 5] and some.verts.tolist() == [[3] * 3, [5] * 3]
