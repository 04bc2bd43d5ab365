"""Triangles that cross the near plane or reach far beyond the image, against rays in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import Topology, interpolate, rasterize
from tests.oracles import raster_oracle, ray_oracle
from tests.raster.meshes import head_mesh, padded, soup, view

HEIGHT, WIDTH = 97, 150
BOX = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
BOX_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def camera_inside(points, yaw=0.4, pitch=0.3, eye=(0.2, -0.1, 0.3), near=0.05, zoom=0.6):
    """Clip coordinates of a wide-angle camera at `eye`."""
    c, s, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    p = (points - eye) @ turn
    w, far = -p[:, 2], 10.0
    z = ((far + near) * w - 2 * far * near) / (far - near)
    return np.stack([zoom * p[:, 0], zoom * p[:, 1], z, w], -1).astype(np.float32)


def seen_of(clip, faces, cull=False):
    clip, faces = padded(clip, faces)
    return rasterize(jnp.asarray(clip), Topology.from_faces(faces, len(clip)), HEIGHT, WIDTH, cull=cull)


def assert_hits(clip, faces, least_certain=0.9):
    """Ids, depth and barycentrics are those of the rays wherever snapping cannot matter."""
    seen = seen_of(clip, faces)
    ids, bary, depth = ray_oracle.cast(clip, faces, HEIGHT, WIDTH)
    sure = ray_oracle.certain(clip, faces, HEIGHT, WIDTH)
    assert sure.mean() > least_certain
    np.testing.assert_array_equal(np.asarray(seen.face_id)[sure], ids[sure])
    covered = sure & (ids >= 0)
    np.testing.assert_allclose(np.asarray(seen.depth)[covered], depth[covered], atol=2e-4)
    np.testing.assert_allclose(np.asarray(seen.bary)[covered], bary[covered], atol=2e-4)
    return np.asarray(seen.face_id)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.4, 0.3), (2.0, -0.7), (0.0, 0.0)])
def test_camera_inside_a_box(yaw, pitch):
    clip = camera_inside(BOX, yaw, pitch)
    assert (clip[:, 3] <= 0).any() and (clip[:, 3] > 0).any()
    ids = assert_hits(clip, BOX_FACES)
    assert (ids >= 0).all()
    # each ray meets exactly one wall: no wall may claim a pixel of its neighbor, none may be missed
    claims = sum(
        np.asarray(seen_of(clip, np.where(np.arange(12)[:, None] == k, BOX_FACES, 0)).face_id) >= 0
        for k in range(12)
    )
    np.testing.assert_array_equal(claims, 1)


def test_only_what_lies_behind_the_near_plane_is_missing():
    floor = np.array([[-5, -0.3, 2], [5, -0.3, 2], [5, -0.3, -8], [-5, -0.3, -8]], float)
    clip = camera_inside(floor, yaw=0.0, pitch=0.0, eye=(0, 0, 0), near=0.4)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    ids = assert_hits(clip, faces)
    depth = np.asarray(seen_of(clip, faces).depth)
    assert -1.001 < depth.min() < -0.9
    assert (ids[-1] == -1).any() and (ids[60] >= 0).all()


def test_facing_of_cut_triangles():
    clip = camera_inside(BOX)
    inward = np.asarray(seen_of(clip, BOX_FACES, cull=True).face_id)
    outward = np.asarray(seen_of(clip, BOX_FACES[:, ::-1], cull=True).face_id)
    assert ((inward >= 0) == (outward < 0)).all()
    assert (inward >= 0).all() or (outward >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_soup_around_the_camera(seed):
    rng = np.random.default_rng(seed)
    clip = camera_inside(rng.uniform(-2, 2, (40, 3)), near=0.3)
    faces = np.array([rng.choice(40, 3, replace=False) for _ in range(25)])
    assert_hits(clip, faces, 0.75)


def test_vertices_far_beyond_the_guard_band():
    clip, faces = soup(3, 30, 8, 3000.0)
    clip[:10, :2] /= 3000
    # 150 px * 3000 is ten times the guard band
    assert (assert_hits(clip, faces) >= 0).any()


def test_the_rest_of_the_mesh_does_not_change():
    verts, faces = head_mesh(12, 14)
    clip = view(verts)
    before = np.asarray(seen_of(clip, faces).face_id)
    victim = faces[before[48, 75], 0]
    moved = clip.copy()
    moved[victim] = [0, 0, -1.5, -1]
    touched = (faces == victim).any(1)
    kept = np.asarray(seen_of(clip, np.where(touched[:, None], faces[:1, :1], faces)).face_id)
    after = np.asarray(seen_of(moved, faces).face_id)
    mine = touched[after] & (after >= 0)
    assert mine.any()
    np.testing.assert_array_equal(after[~mine], kept[~mine])


def test_gradients_of_cut_triangles():
    clip = camera_inside(BOX)
    padded_clip, faces = padded(clip, BOX_FACES)
    topology = Topology.from_faces(faces, len(padded_clip))
    rng = np.random.default_rng(0)
    sure = ray_oracle.certain(clip, BOX_FACES, HEIGHT, WIDTH)
    bary_weight = (rng.normal(size=(HEIGHT, WIDTH, 3)) * sure[..., None]).astype(np.float32)
    depth_weight = (rng.normal(size=(HEIGHT, WIDTH)) * sure).astype(np.float32)

    def loss(verts_clip):
        seen = rasterize(verts_clip, topology, HEIGHT, WIDTH)
        return (seen.bary * bary_weight).sum() + (seen.depth * depth_weight).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(padded_clip)))[:8]
    ids = np.asarray(seen_of(clip, BOX_FACES).face_id)

    def loss64(verts_clip):
        bary, depth = raster_oracle.fragments(verts_clip, BOX_FACES, ids)
        return (bary * bary_weight[ids >= 0]).sum() + (depth * depth_weight[ids >= 0]).sum()

    expected = np.zeros((8, 4))
    for vert in range(8):
        for axis in range(4):
            step = np.zeros((8, 4))
            step[vert, axis] = 1e-6
            expected[vert, axis] = (loss64(clip + step) - loss64(clip - step)) / 2e-6
    np.testing.assert_allclose(gradient, expected, atol=2e-3 * np.abs(expected).max())


def test_a_cut_triangle_interpolates_within_its_corners():
    clip = camera_inside(BOX)
    padded_clip, faces = padded(clip, BOX_FACES)
    topology = Topology.from_faces(faces, len(padded_clip))
    values = np.zeros((len(padded_clip), 3), np.float32)
    values[:8] = BOX
    image = interpolate(jnp.asarray(values), seen_of(clip, BOX_FACES), topology)
    # every pixel shows a point of a wall
    np.testing.assert_allclose(np.abs(np.asarray(image)).max(-1), 1.0, atol=1e-4)
    assert np.abs(np.asarray(image)).max() < 1.0001


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_bad_corner_drops_its_triangles_only(value):
    clip = camera_inside(BOX)
    clip[3] = [0, 0, 0, value]
    ids = np.asarray(seen_of(clip, BOX_FACES).face_id)
    assert not (BOX_FACES[ids[ids >= 0]] == 3).any()
    whole = np.asarray(seen_of(camera_inside(BOX), BOX_FACES).face_id)
    untouched = ~(BOX_FACES[whole] == 3).any(-1)
    np.testing.assert_array_equal(ids[untouched], whole[untouched])
