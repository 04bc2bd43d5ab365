"""Short vectors of the refiner's memory: standardised geometry, and appearance of what was really seen."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.infer import descriptors
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.track.texture import TextureBank


def _features(t: int, spread: float = 3.0) -> ZoneFeatures:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(30, 60)) * spread * np.geomspace(1, 0.2, 30)[:, None]
    joint = (rng.normal(size=(t, 30)) @ mixing + rng.normal(size=60)).astype(np.float32)
    return ZoneFeatures(joint[:, :40], joint[:, 40:50], joint[:, 50:])


def test_codes_of_the_training_frames_are_standardised_and_uncorrelated():
    features = _features(400)
    code = descriptors.fit_geometry_code(features)(features)
    assert code.shape == (400, descriptors.N_FEATURES) and np.abs(code).max() <= 4
    covariance = np.cov(code.T)
    np.testing.assert_allclose(code.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(covariance, np.eye(descriptors.N_FEATURES), atol=0.08)  # outliers are cut


def test_leading_directions_are_the_principal_ones():
    features = _features(400)
    joint = np.concatenate(features, axis=1).astype(np.float64)
    fitted = descriptors.fit_geometry_code(features)
    _, _, wanted = np.linalg.svd(joint - joint.mean(0), full_matrices=False)
    basis = fitted.basis / np.linalg.norm(fitted.basis, axis=0)
    agreement = np.abs(np.sum(basis * wanted[: descriptors.N_FEATURES].T, axis=0))
    assert agreement.min() > 0.99


def test_what_hardly_varies_is_not_blown_up():
    features = _features(200, spread=1e-4)
    code = descriptors.fit_geometry_code(features)(features)
    assert np.abs(code).max() < 0.1


def test_fewer_frames_than_directions():
    features = _features(10)
    code = descriptors.fit_geometry_code(features)(features)
    assert code.shape == (10, descriptors.N_FEATURES) and np.isfinite(code).all()


@pytest.fixture(scope="module")
def bank() -> tuple[TextureBank, tuple[np.ndarray, ...]]:
    """Frames 0-14 show one mouth, 15-29 another; a third of the texels is not seen in odd frames."""
    rng = np.random.default_rng(1)
    t, n = 30, 600
    mean = rng.uniform(0.3, 0.6, (n, 3)).astype(np.float32)
    looks = rng.normal(0, 0.1, (2, n, 3))
    albedo = mean + looks[np.arange(t) // 15] + rng.normal(0, 0.01, (t, n, 3))
    frames = np.clip(albedo * 180, 0, 255).astype(np.uint8)
    weights = np.full((t, n), 255, np.uint8)
    unseen = rng.random(n) < 1 / 3
    weights[1::2, unseen] = 0
    mouth, eyes = np.zeros(n, np.float32), np.zeros(n, np.float32)
    mouth[:300], eyes[300:450] = 1, 1
    return TextureBank(mean, frames, weights, np.zeros((t, 3, 9))), (mouth, eyes, 1 - mouth - eyes)


def test_values_are_unit_vectors_with_one_identity(bank):
    values = descriptors.appearance_values(*bank)
    assert values.shape == (30, descriptors.N_VALUES) and values.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    identity = values[:, descriptors.N_APPEARANCE :]
    assert np.ptp(identity, axis=0).max() == 0 and np.linalg.norm(identity[0]) == pytest.approx(0.6, abs=1e-5)


def test_frames_that_look_alike_have_like_values(bank):
    values = descriptors.appearance_values(*bank)
    likeness = values @ values.T
    same = np.arange(30)[:, None] // 15 == np.arange(30)[None] // 15
    assert likeness[same].min() > likeness[~same].max() + 0.3


def test_unseen_texels_and_plain_skin_do_not_count(bank):
    textures, zones = bank
    values = descriptors.appearance_values(textures, zones)
    frames = textures.frames.copy()
    frames[textures.weights == 0] = 255
    frames[:, 450:] = 7  # skin
    np.testing.assert_allclose(
        descriptors.appearance_values(textures._replace(frames=frames), zones), values, atol=1e-5
    )
