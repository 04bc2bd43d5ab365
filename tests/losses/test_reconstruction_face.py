"""R-Net's loss terms against numpy loops, and their gradients where a square root or a length is zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.losses import reconstruction_face as losses
from talkjax.types import FaceCoeffs, Pose


@jax.jit
def photometric(a, b, mask):
    """Value and slopes in one program: op by op costs twenty compilations."""
    return jax.value_and_grad(losses.photometric, argnums=(0, 2))(a, b, mask)


RNG = np.random.default_rng(3)


def random(*shape: int) -> np.ndarray:
    return RNG.uniform(size=shape).astype(np.float32)


def test_photometric() -> None:
    a, b, mask = random(2, 4, 5, 3), random(2, 4, 5, 3), np.round(random(2, 4, 5, 1), 1)
    total = sum(mask[i][0] * np.sqrt(((a[i] - b[i]) ** 2).sum()) for i in np.ndindex(2, 4, 5))
    value, (_, to_mask) = photometric(a, b, mask)
    np.testing.assert_allclose(value, total / mask.sum(), rtol=1e-5)
    np.testing.assert_array_equal(to_mask, 0)
    assert photometric(a, b, 0 * mask)[0] == 0
    # equal pictures: the norm's corner. One step away its slope is a unit vector over the pixel count
    np.testing.assert_array_equal(photometric(a, a, mask)[1][0], 0)
    b, only = a.copy(), 0 * mask
    b[1, 2, 3] -= np.float32([0.3, 0, 0.4])
    only[1, 2, 3] = 1
    np.testing.assert_allclose(photometric(a, b, only)[1][0][1, 2, 3], [0.6, 0, 0.8], rtol=1e-5)


def test_landmark() -> None:
    a, b = 224 * random(3, 68, 2), 224 * random(3, 68, 2)
    total = 0.0
    for i, k in np.ndindex(3, 68):
        weight = 20 if k in (28, 29, 30) or k >= 60 else 1
        total += weight * ((a[i, k] - b[i, k]) ** 2).sum()
    value, slope = jax.jit(jax.value_and_grad(losses.landmark))(a, b)
    np.testing.assert_allclose(value, total / 68 / 3, rtol=1e-5)
    np.testing.assert_allclose(slope[1, 29], 2 * 20 * (a - b)[1, 29] / 68 / 3, rtol=1e-5)


def test_perceptual() -> None:
    a, b = random(3, 7) - 0.5, random(3, 7) - 0.5
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    both = jax.jit(jax.value_and_grad(losses.perceptual))
    np.testing.assert_allclose(both(a, b)[0], 1 - np.mean(cosines), rtol=1e-5)
    assert abs(float(both(a, 3 * a)[0])) < 1e-6
    value, slope = both(0 * a, b)
    assert value == 1 and np.isfinite(slope).all()


def test_regularizers() -> None:
    sizes = {"id_coeffs": (2, 4), "exp_coeffs": (2, 3), "tex_coeffs": (2, 5), "sh_coeffs": (2, 3, 9)}
    values = {name: random(*shape) - 0.5 for name, shape in sizes.items()}
    pose = Pose(euler=jnp.zeros((2, 3)), translation=jnp.zeros((2, 3)))
    squares = {name: (value**2).sum() / 2 for name, value in values.items()}
    expected = squares["id_coeffs"] + 0.8 * squares["exp_coeffs"] + 0.017 * squares["tex_coeffs"]
    size = jax.jit(losses.coefficient)(FaceCoeffs(pose=pose, **values))
    np.testing.assert_allclose(size, expected, rtol=1e-5)

    sh = values["sh_coeffs"]
    expected = np.mean([sh[:, :, k].var(1) for k in range(9)])
    np.testing.assert_allclose(losses.gamma(sh), expected, rtol=1e-5)
    white = np.repeat(sh[:, :1], 3, 1)
    np.testing.assert_allclose(losses.gamma(white), 0, atol=1e-12)


def test_reflectance() -> None:
    albedo, skin = random(2, 6, 3), np.float32([1, 0, 1, 1, 0, 1])
    expected = np.mean([a[skin > 0].var(0).sum() for a in albedo])
    both = jax.jit(jax.value_and_grad(losses.reflectance))
    value, slope = both(albedo, skin)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.abs(slope[:, 1]).max() == 0 < np.abs(slope[:, 0]).max()
    value, slope = both(albedo, 0 * skin)
    assert value == 0 and np.isfinite(slope).all()


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

    @jax.jit
    def with_slope(image, mask):
        attention, pullback = jax.vjp(lambda x: losses.skin_attention(x[None], mask[None])[0, ..., 0], image)
        return attention, pullback(attention)[0]

    attention, slope = with_slope(colors, mask)
    assert attention[0].min() > 0.6 and attention[1].max() < 0.2, attention
    assert np.abs(slope).max() == 0
    assert np.abs(with_slope(colors, 0 * mask)[0]).max() == 0


def test_white_balance_is_measured() -> None:
    """Skin under blue light leaves the ellipse and comes back with the clip's own center."""
    tinted = np.clip(np.float32([224, 172, 140]) / 255 * [0.6, 0.9, 1.6], 0, 1)
    image = np.broadcast_to(np.float32(tinted), (1, 40, 40, 3))
    mask = np.ones((1, 40, 40, 1), np.float32)
    center = jax.jit(losses.skin_chroma)(image, mask)
    attention = jax.jit(losses.skin_attention)
    before = attention(image, mask, jnp.asarray(losses.SKIN_CENTER)[None])
    after = attention(image, mask, center)
    assert before.max() < 0.5 and after.min() > 0.99
    # nothing seen: the prior
    np.testing.assert_allclose(jax.jit(losses.skin_chroma)(image, 0 * mask)[0], losses.SKIN_CENTER, rtol=1e-6)
