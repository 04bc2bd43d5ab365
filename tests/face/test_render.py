"""Rendered faces: the batch against frames one by one, the mask, and a face found from one image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.person import person_model
from talkjax.face.render import FaceRenderer, render_faces, render_layers
from talkjax.raster.camera import project
from talkjax.types import Camera, Pose
from tests.oracles.drawn_face import drawn_neutral
from tests.raster.fitting import fitter

SIZE = 64


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    return FaceRenderer.from_model(person_model(drawn_neutral()))


def camera() -> Camera:
    return Camera(jnp.float32(4.6 * SIZE), jnp.array([0.5 * SIZE, 0.39 * SIZE]), jnp.float32(10.0))


def texture() -> jax.Array:
    """Waves of some texels' length: every place looks different."""
    u, v = np.meshgrid(*[(np.arange(64) + 0.5) / 64] * 2)
    waves = [np.sin(20 * u) * np.sin(17 * v), np.sin(13 * u + 9 * v), np.cos(23 * v - 8 * u)]
    return jnp.asarray(np.stack([0.43 + 0.3 * wave for wave in waves], -1), jnp.float32)


def light() -> jax.Array:
    """From above, the right and the front."""
    return jnp.zeros((3, 9)).at[:, 1].set(-0.1).at[:, 2].set(0.25).at[:, 3].set(0.2)


def coeffs(renderer, **values):
    exp = np.zeros(len(renderer.model.exp_names), np.float32)
    for name, value in values.items():
        exp[renderer.model.exp_names.index(name)] = value
    return exp


def test_a_batch_is_its_frames_and_the_layers_renderers(renderer):
    exps = jnp.asarray(np.stack([coeffs(renderer, jawOpen=0.6), coeffs(renderer, smile_L=0.8)]))
    poses = Pose(
        jnp.array([[0.1, 0.3, 0.0], [0.0, -0.4, 0.1]]), jnp.array([[0.1, 0.0, 0.2], [0.0, 0.05, 0.0]])
    )
    lights = jnp.stack([light(), light()[::-1] * 0.5])
    own = camera()
    cameras = Camera(
        jnp.stack([own.focal, own.focal * 1.1]),
        jnp.stack([own.center, own.center + 2.0]),
        jnp.stack([own.distance, own.distance]),
    )
    faces = render_faces(renderer, exps, poses, lights, texture(), cameras, SIZE)
    for k in range(2):
        frame = jax.tree.map(lambda x, k=k: x[k], (exps, poses, lights, cameras))
        image, region = render_layers(renderer, *frame[:3], texture(), frame[3], SIZE)
        np.testing.assert_allclose(faces.image[k], image, atol=1e-5)
        np.testing.assert_array_equal(faces.mask[k], region >= 0)
    on_face = np.asarray(faces.mask) > 0
    assert 0.2 < on_face.mean() < 0.8
    assert np.asarray(faces.image)[~on_face].max() == 0 and np.asarray(faces.depth)[~on_face].max() == 0
    # depth and uv at the pixel under the tip of the nose are the vertex's own
    verts = renderer.verts_cam(exps, poses)
    tip = 1
    for k in range(2):
        x, y = np.asarray(project(verts[k, tip], jax.tree.map(lambda c, k=k: c[k], cameras))).astype(int)
        assert abs(faces.depth[k, y, x] - (10 - verts[k, tip, 2])) < 0.03
        np.testing.assert_allclose(faces.uv[k, y, x], renderer.model.uvs[tip], atol=0.03)


@pytest.mark.long
def test_a_face_from_one_image(renderer):
    """43 expressions and the pose, from the neutral looking straight ahead; 64 pixels."""
    n = len(renderer.model.exp_names)

    def split(values):
        return values[:n], Pose(values[n : n + 3], values[n + 3 :])

    def draw(values):
        faces = render_faces(renderer, *split(values), light(), texture(), camera(), SIZE, smooth=True)
        return jnp.concatenate([faces.image, faces.mask[..., None]], axis=-1)

    lowest = jnp.where(renderer.model.exp_signed, -1.3, 0.0)

    def allowed(values):
        return values.at[:n].set(jnp.clip(values[:n], lowest, 1.3))

    exp = coeffs(renderer, jawOpen=0.6, smile_R=0.7, smile_L=0.3, blink_L=0.5, browInUp_R=0.6, pucker=0.4)
    truth = jnp.asarray(np.r_[exp, [0.1, 0.25, 0.05], [0.05, -0.05, 0.1]], jnp.float32)
    found, image, target = fitter(draw, steps=600, rate=0.03, project=allowed)(jnp.zeros(n + 6), truth)

    def off(values):
        """Root mean square distance of the vertices to the true ones, dm."""
        return float(
            jnp.sqrt(
                ((renderer.verts_cam(*split(values)) - renderer.verts_cam(*split(truth))) ** 2).sum(-1).mean()
            )
        )

    assert off(jnp.zeros(n + 6)) > 0.15  # 15 mm away, the head turned by 14 degrees
    assert off(found) < 0.006
    assert np.degrees(np.abs(found - truth)[n : n + 3]).max() < 0.2
    clear = [
        renderer.model.exp_names.index(k) for k in ("jawOpen", "blink_L", "browInUp_R", "pucker", "smile_R")
    ]
    assert np.abs(found - truth)[jnp.asarray(clear)].max() < 0.12
    assert np.sqrt(np.mean(np.square(image - target))) < 0.005 < 0.1 < float(target.std())
