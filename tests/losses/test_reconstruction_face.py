"""R-Net's loss terms against numpy loops, and their gradients where a square root or a length is zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.losses import reconstruction_face as losses
from talkjax.types import FaceCoeffs, Pose

RNG = np.random.default_rng(3)


def random(*shape: int) -> np.ndarray:
    return RNG.uniform(size=shape).astype(np.float32)


def test_photometric() -> None:
    a, b, mask = random(2, 4, 5, 3), random(2, 4, 5, 3), np.round(random(2, 4, 5, 1), 1)
    total = sum(mask[i][0] * np.sqrt(((a[i] - b[i]) ** 2).sum()) for i in np.ndindex(2, 4, 5))
    np.testing.assert_allclose(losses.photometric(a, b, mask), total / mask.sum(), rtol=1e-5)
    assert losses.photometric(a, b, 0 * mask) == 0
    # equal pictures: the norm's corner. One step away its slope is a unit vector over the pixel count
    one = np.ones((1, 1, 1, 1), np.float32)
    slope = jax.grad(losses.photometric)
    np.testing.assert_array_equal(slope(a, a, mask), 0)
    pixel = np.float32([[[[0.3, 0, 0.4]]]])
    np.testing.assert_allclose(slope(pixel, 0 * pixel, one)[0, 0, 0], [0.6, 0, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(losses.photometric, argnums=2)(a, b, mask), 0)


def test_landmark() -> None:
    a, b = 224 * random(3, 68, 2), 224 * random(3, 68, 2)
    total = 0.0
    for i, k in np.ndindex(3, 68):
        weight = 20 if k in (28, 29, 30) or k >= 60 else 1
        total += weight * ((a[i, k] - b[i, k]) ** 2).sum()
    np.testing.assert_allclose(losses.landmark(a, b), total / 68 / 3, rtol=1e-5)
    slope = jax.grad(losses.landmark)(a, b)
    np.testing.assert_allclose(slope[1, 29], 2 * 20 * (a - b)[1, 29] / 68 / 3, rtol=1e-5)


def test_perceptual() -> None:
    a, b = random(3, 7) - 0.5, random(3, 7) - 0.5
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(losses.perceptual(a, b), 1 - np.mean(cosines), rtol=1e-5)
    assert abs(float(losses.perceptual(a, 3 * a))) < 1e-6
    zero = np.zeros((1, 7), np.float32)
    assert losses.perceptual(zero, b[:1]) == 1
    assert np.isfinite(jax.grad(losses.perceptual)(zero, b[:1])).all()


def test_regularizers() -> None:
    sizes = {"id_coeffs": (2, 4), "exp_coeffs": (2, 3), "tex_coeffs": (2, 5), "sh_coeffs": (2, 3, 9)}
    values = {name: random(*shape) - 0.5 for name, shape in sizes.items()}
    pose = Pose(euler=jnp.zeros((2, 3)), translation=jnp.zeros((2, 3)))
    squares = {name: (value**2).sum() / 2 for name, value in values.items()}
    expected = squares["id_coeffs"] + 0.8 * squares["exp_coeffs"] + 0.017 * squares["tex_coeffs"]
    np.testing.assert_allclose(losses.coefficient(FaceCoeffs(pose=pose, **values)), expected, rtol=1e-5)

    sh = values["sh_coeffs"]
    expected = np.mean([sh[:, :, k].var(1) for k in range(9)])
    np.testing.assert_allclose(losses.gamma(sh), expected, rtol=1e-5)
    white = np.repeat(sh[:, :1], 3, 1)
    np.testing.assert_allclose(losses.gamma(white), 0, atol=1e-12)


def test_reflectance() -> None:
    albedo, skin = random(2, 6, 3), np.float32([1, 0, 1, 1, 0, 1])
    expected = np.mean([a[skin > 0].var(0).sum() for a in albedo])
    np.testing.assert_allclose(losses.reflectance(albedo, skin), expected, rtol=1e-5)
    slope = jax.grad(losses.reflectance)(albedo, skin)
    assert np.abs(slope[:, 1]).max() == 0 < np.abs(slope[:, 0]).max()
    assert losses.reflectance(albedo, 0 * skin) == 0
    assert np.isfinite(jax.grad(losses.reflectance)(albedo, 0 * skin)).all()


def test_total_is_the_table() -> None:
    names = ("photometric", "landmark", "perceptual", "coefficient", "reflectance", "gamma")
    table = (1.92, 1.6e-3, 0.2, 3e-4, 5.0, 10.0)
    terms = {name: jnp.float32(10.0**k) for k, name in enumerate(names)}
    expected = sum(w * 10.0**k for k, w in enumerate(table))
    np.testing.assert_allclose(losses.total(terms), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.total({"gamma": jnp.float32(2)}, {"gamma": 0.5}), 1.0)
    with pytest.raises(KeyError):
        losses.total({"gama": jnp.float32(2)})


def test_skin_attention_knows_skin() -> None:
    skin = [(255, 219, 172), (224, 172, 105), (198, 134, 66), (141, 85, 36), (90, 56, 37), (255, 205, 180)]
    other = [(250, 250, 250), (20, 20, 20), (40, 90, 200), (40, 160, 60), (128, 128, 128), (230, 30, 40)]
    colors = np.float32([skin, other]) / 255
    mask = np.ones((2, 6, 1), np.float32)
    attention = losses.skin_attention(colors[None], mask[None])[0, ..., 0]
    assert attention[0].min() > 0.6 and attention[1].max() < 0.2, attention
    assert np.abs(losses.skin_attention(colors[None], 0 * mask[None])).max() == 0
    slope = jax.grad(lambda x: losses.skin_attention(x, mask[None]).sum())(colors[None])
    assert np.abs(slope).max() == 0


def test_white_balance_is_measured() -> None:
    """Skin under blue light leaves the ellipse and comes back with the clip's own center."""
    tinted = np.clip(np.float32([224, 172, 140]) / 255 * [0.6, 0.9, 1.6], 0, 1)
    image = np.broadcast_to(np.float32(tinted), (1, 40, 40, 3))
    mask = np.ones((1, 40, 40, 1), np.float32)
    before = losses.skin_attention(image, mask)
    center = losses.skin_chroma(image, mask)
    after = losses.skin_attention(image, mask, center)
    assert before.max() < 0.5 and after.min() > 0.99
    np.testing.assert_allclose(losses.skin_chroma(image, 0 * mask)[0], losses.SKIN_CENTER)
