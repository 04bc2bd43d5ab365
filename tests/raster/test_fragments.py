"""Barycentrics, depth, interpolation: values and gradients against float64 numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.raster import Topology, interpolate, rasterize
from talkjax.raster.interpolate import interpolate_planes
from tests.oracles import raster_oracle
from tests.raster.meshes import head_mesh, on_grid, padded, view

HEIGHT, WIDTH = 97, 150


@pytest.fixture(scope="module")
def head():
    verts, faces = head_mesh(12, 14)
    clip, faces = padded(view(verts), faces)
    topology = Topology.from_faces(faces, len(clip))
    return clip, faces, topology, rasterize(jnp.asarray(clip), topology, HEIGHT, WIDTH)


def test_bary_and_depth_have_the_oracles_values(head):
    clip, faces, _, seen = head
    ids = np.asarray(seen.face_id)
    bary, depth = raster_oracle.fragments(clip, faces, ids)
    np.testing.assert_allclose(np.asarray(seen.bary)[ids >= 0], bary, atol=2e-4)
    np.testing.assert_allclose(np.asarray(seen.depth)[ids >= 0], depth, atol=2e-5)
    assert (np.asarray(seen.bary)[ids < 0] == 0).all() and (np.asarray(seen.depth)[ids < 0] == 1).all()


def test_gradients_match_finite_differences(head):
    clip, faces, topology, seen = head
    ids = np.asarray(seen.face_id)
    # Slivers at the limb amplify any error without bound: the comparison needs triangles of some area.
    px = (clip[:, :2] / np.where(clip[:, 3:] > 0, clip[:, 3:], 1)) * [WIDTH / 2, HEIGHT / 2]
    a, b, c = px[faces[:, 0]], px[faces[:, 1]], px[faces[:, 2]]
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    ids = np.where((ids >= 0) & (area[ids] > 5), ids, -1)
    solid = ids >= 0
    assert solid.sum() > 2000
    rng = np.random.default_rng(0)
    bary_weight = rng.normal(size=(*ids.shape, 3)).astype(np.float32) * solid[..., None]
    depth_weight = rng.normal(size=ids.shape).astype(np.float32) * solid

    def loss(verts_clip):
        seen = rasterize(verts_clip, topology, HEIGHT, WIDTH)
        return (seen.bary * bary_weight).sum() + (seen.depth * depth_weight).sum()

    def loss64(verts_clip):
        bary, depth = raster_oracle.fragments(verts_clip, faces, ids)
        return (bary * bary_weight[solid]).sum() + (depth * depth_weight[solid]).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(clip)))
    touched = np.unique(faces[ids[solid]])
    scale = np.abs(gradient).max()
    for vert in rng.choice(touched, 25, replace=False):
        for axis in range(4):
            step = np.zeros(clip.shape)
            step[vert, axis] = 1e-6
            expected = (loss64(clip + step) - loss64(clip - step)) / 2e-6
            assert abs(gradient[vert, axis] - expected) < 1e-3 * abs(expected) + 2e-5 * scale
    assert (
        gradient[np.setdiff1d(np.arange(len(clip)), np.unique(faces[np.unique(seen.face_id)]))] == 0
    ).all()

    # forward mode agrees with reverse mode
    direction = rng.normal(size=clip.shape).astype(np.float32)
    _, forward = jax.jvp(loss, (jnp.asarray(clip),), (jnp.asarray(direction),))
    np.testing.assert_allclose(forward, (gradient * direction).sum(), rtol=1e-3)


@pytest.mark.long
def test_gradients_under_jit_and_vmap(head):
    clip, _, topology, _ = head
    clips = jnp.stack([jnp.asarray(clip), jnp.asarray(clip) * jnp.array([1.0, 0.9, 1.0, 1.1])])

    def loss(verts_clip):
        seen = rasterize(verts_clip, topology, HEIGHT, WIDTH)
        color = interpolate(verts_clip[..., :3], seen, topology)
        return (seen.bary[..., 0] ** 2).sum() + seen.depth.sum() + (color**2).sum()

    alone = jax.jit(jax.grad(loss))
    expected = np.stack([np.asarray(alone(c)) for c in clips])
    scale = np.abs(expected).max()
    assert scale > 0
    for gradient in (jax.grad(loss)(clips), jax.jit(jax.vmap(jax.grad(loss)))(clips)):
        np.testing.assert_allclose(gradient, expected, atol=2e-4 * scale)


def test_bad_vertices_leave_gradients_finite(head):
    clip, faces, topology, seen = head
    for bad in (faces[0, 0], faces[np.asarray(seen.face_id)[48, 75], 0]):  # background reads face 0
        for value in (np.nan, np.inf):
            broken = clip.copy()
            broken[bad] = value

            def loss(verts_clip, attributes):
                seen = rasterize(verts_clip, topology, HEIGHT, WIDTH)
                return (interpolate(attributes, seen, topology) ** 2).sum() + (seen.depth**2).sum()

            total, gradients = jax.value_and_grad(loss, argnums=(0, 1))(
                jnp.asarray(broken), jnp.asarray(broken)
            )
            assert np.isfinite(total)
            for gradient in gradients:
                assert np.isfinite(gradient).all() and (np.asarray(gradient)[bad] == 0).all()
                assert np.abs(gradient).max() > 0


def test_zero_area_has_zero_gradient():
    # snapping to 1/256 px makes a visible triangle out of three collinear points, or none: both must be
    # finite
    clip = on_grid([[10.5, 10.5], [60.5, 60.5], [35.4999, 35.5001]], HEIGHT, WIDTH)
    clip, faces = padded(np.concatenate([clip, clip[:1]]), np.array([[0, 1, 2], [0, 1, 3]]))
    topology = Topology.from_faces(faces, len(clip))
    gradient = jax.grad(lambda c: (rasterize(c, topology, HEIGHT, WIDTH).bary ** 2).sum())(jnp.asarray(clip))
    assert np.isfinite(gradient).all()


def test_interpolation_is_perspective_correct(head):
    clip, faces, topology, seen = head
    ids = np.asarray(seen.face_id)
    rng = np.random.default_rng(1)
    attributes = rng.uniform(size=(len(clip), 5)).astype(np.float32)
    image = np.asarray(interpolate(jnp.asarray(attributes), seen, topology))
    bary, _ = raster_oracle.fragments(clip, faces, ids)
    expected = np.einsum("ni,nic->nc", bary, attributes[faces[ids[ids >= 0]]])
    inside = bary.min(-1) > 0
    assert inside.mean() > 0.9
    np.testing.assert_allclose(image[ids >= 0][inside], expected[inside], atol=5e-4)
    assert (image[ids < 0] == 0).all()
    assert image.min() >= 0 and image.max() <= 1.0001  # never beyond the corners, not even on snapped edges


def test_interpolation_gradient_is_the_transpose(head):
    clip, _, topology, seen = head
    rng = np.random.default_rng(2)
    attributes, change = rng.normal(size=(2, len(clip), 3)).astype(np.float32)
    weight = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    gradient = jax.grad(lambda a: (interpolate(a, seen, topology) * weight).sum())(jnp.asarray(attributes))
    image = np.asarray(interpolate(jnp.asarray(change), seen, topology), np.float64)
    np.testing.assert_allclose((np.asarray(gradient) * change).sum(), (image * weight).sum(), rtol=1e-4)


def test_screen_linear_weights(head):
    clip, faces, topology, seen = head
    ids = np.asarray(seen.face_id)
    rows, columns = np.nonzero(ids >= 0)
    flat = rasterize(jnp.asarray(clip), topology, HEIGHT, WIDTH, perspective=False)
    np.testing.assert_array_equal(flat.face_id, ids)
    corners = clip[faces[ids[rows, columns]]].astype(np.float64)
    corners = corners / corners[..., 3:]
    # the weights that put the corners' places on the image at the pixel
    weights = np.asarray(flat.bary, np.float64)[rows, columns]
    x, y = (np.einsum("ni,ni->n", weights, corners[..., axis]) for axis in range(2))
    np.testing.assert_allclose((x + 1) * WIDTH / 2, columns + 0.5, atol=2e-3)
    np.testing.assert_allclose((1 - y) * HEIGHT / 2, rows + 0.5, atol=2e-3)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert np.abs(np.asarray(flat.bary) - np.asarray(seen.bary)).max() > 0.02


def test_background(head):
    clip, _, topology, seen = head
    outside = np.asarray(seen.face_id) < 0
    values = jnp.asarray(clip[:, :3])
    plain = np.asarray(interpolate(values, seen, topology))
    picture = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    for background in (0.5, np.array([0.1, 0.2, 0.3], np.float32), picture):
        image = np.asarray(interpolate(values, seen, topology, background=background))
        np.testing.assert_array_equal(image[~outside], plain[~outside])
        np.testing.assert_array_equal(image[outside], np.broadcast_to(background, image.shape)[outside])
    pull = jax.grad(lambda b: interpolate(values, seen, topology, background=b).sum())(jnp.asarray(picture))
    np.testing.assert_array_equal(pull, np.broadcast_to(outside[..., None], picture.shape))


def test_attributes_may_have_the_batch_or_none(head):
    clip, _, topology, _ = head
    rng = np.random.default_rng(3)
    clips = jnp.stack([jnp.asarray(clip), jnp.asarray(clip) * jnp.array([0.8, 1.0, 1.0, 1.0])])
    seen = rasterize(clips, topology, HEIGHT, WIDTH)
    attributes = jnp.asarray(rng.normal(size=(2, len(clip), 3)).astype(np.float32))
    both = interpolate(attributes, seen, topology)
    for k in range(2):
        one = jax.tree.map(lambda x, k=k: x[k], seen)
        np.testing.assert_allclose(both[k], interpolate(attributes[k], one, topology), atol=1e-5)
        shared = interpolate(attributes[0], seen, topology)
        np.testing.assert_allclose(shared[k], interpolate(attributes[0], one, topology), atol=1e-5)
    with pytest.raises(InputError, match="attributes have shape"):
        interpolate(attributes[:, :7], seen, topology)


@pytest.mark.parametrize("n_channels", [1, 4, 6])
def test_planes_are_the_channels_with_the_same_derivatives(head, n_channels):
    clip, _, topology, seen = head
    rng = np.random.default_rng(5)
    attributes, change = jnp.asarray(rng.normal(size=(2, len(clip), n_channels)).astype(np.float32))
    turned = jnp.asarray(rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32))
    weight = jnp.asarray(rng.normal(size=(HEIGHT, WIDTH, n_channels)).astype(np.float32))

    def rows(attributes, bary):
        return interpolate(attributes, seen.replace(bary=bary), topology)

    def planes(attributes, bary):
        return jnp.stack(interpolate_planes(attributes, seen.replace(bary=bary), topology), axis=-1)

    results = []
    for mix in (rows, planes):
        ahead = jax.jvp(mix, (attributes, seen.bary), (change, turned))
        back = jax.grad(lambda *x, mix=mix: jnp.vdot(mix(*x), weight), argnums=(0, 1))(attributes, seen.bary)
        results.append((*ahead, *back))
    for expected, own in zip(*results, strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-4)
    with pytest.raises(InputError, match="attributes have shape"):
        interpolate_planes(attributes[:7], seen, topology)


def test_second_derivatives_of_the_barycentrics(head):
    clip, _, topology, _ = head
    rng = np.random.default_rng(6)
    # a broad face of the middle, so that the quotient of differences means something
    middle = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    middle[40:60, 60:90] = rng.normal(size=(20, 30, 3))

    def loss(verts_clip):
        return (rasterize(verts_clip, topology, HEIGHT, WIDTH).bary ** 2 * middle).sum()

    at, change = jnp.asarray(clip), jnp.asarray(rng.normal(size=clip.shape).astype(np.float32))
    ahead = jax.jvp(jax.grad(loss), (at,), (change,))[1]
    back = jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), change))(at)
    assert np.isfinite(ahead).all() and np.abs(ahead).max() > 0
    np.testing.assert_allclose(back, ahead, rtol=1e-3, atol=1e-3 * float(np.abs(ahead).max()))
