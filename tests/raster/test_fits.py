"""It fits things: poses and a texture found by gradient descent on images, each from a stated distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from talkjax.numerics import matmul
from talkjax.raster import Topology, antialias, interpolate, rasterize, sample_texture
from tests.raster.fitting import fitter
from tests.raster.meshes import head_mesh, padded_topology


def rotation(turn):
    """Matrix of a rotation vector."""
    x, y, z = turn
    zero = jnp.zeros_like(x)
    return jax.scipy.linalg.expm(jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]))


def to_clip(verts, pose, distance=4.0, zoom=2.5):
    """Perspective view from +z of `verts` turned by pose[:3] (rotation vector) and moved by pose[3:]."""
    p = matmul(verts, rotation(pose[:3]).T) + pose[3:]
    w = distance - p[:, 2]
    return jnp.stack([zoom * p[:, 0], zoom * p[:, 1], 0.9 * w - 0.5, w], axis=-1)


def away(pose, degrees, shift, seed):
    """A pose turned by `degrees` about some axis and moved by `shift` along every axis."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
    turn = (turn * Rotation.from_rotvec(pose[:3])).as_rotvec()
    return jnp.asarray(np.r_[turn, pose[3:] + shift * rng.choice([-1, 1], 3)], jnp.float32)


def distance(a, b):
    """Degrees between two poses, and the largest difference of their places."""
    turn = Rotation.from_rotvec(a[:3]) * Rotation.from_rotvec(b[:3]).inv()
    return np.degrees(turn.magnitude()), np.abs(np.asarray(a)[3:] - np.asarray(b)[3:]).max()


SIZE = 16
MAX_VERTS, MAX_FACES, MAX_EDGES = 200, 320, 520


def draw(scene):
    """(pose, verts [v 3], colors per face and of the background, topology) -> image of 16 x 16 pixels."""
    pose, verts, colors, topology = scene
    clip = to_clip(verts, pose)
    seen = rasterize(clip, topology, SIZE, SIZE)
    return antialias(colors[seen.face_id], clip, seen, topology)


fit_pose = fitter(lambda pose, *scene: draw((pose, *scene)), steps=200, rate=0.04)


def scene_of(verts, faces, colors):
    """Padded to one size, so that one program serves all meshes."""
    verts = jnp.asarray(np.pad(verts, ((0, MAX_VERTS - len(verts)), (0, 0))), jnp.float32)
    clip_topology = padded_topology(faces, MAX_VERTS, MAX_FACES, MAX_EDGES)
    colors = np.pad(colors, ((0, MAX_FACES - len(colors)), (0, 0)))
    return verts, jnp.asarray(np.r_[colors, np.zeros((1, 3))], jnp.float32), clip_topology


@pytest.mark.long
def test_a_cubes_pose_from_sixteen_pixels():
    corners = 0.6 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    sides = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    # each side has vertices of its own: then the borders between its colors count as outlines, too
    faces = np.array([4 * k + t for k in range(6) for t in (np.array([0, 1, 2]), np.array([0, 2, 3]))])
    rgb = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    scene = scene_of(corners[sides.reshape(-1)], faces, np.repeat(rgb, 2, axis=0))
    truth = jnp.array([0.5, 0.6, 0.1, 0.05, -0.08, 0.1])
    for seed in range(5):
        found, *_ = fit_pose(away(truth, 35, 0.2, seed), truth, *scene)
        degrees, shift = distance(found, truth)
        assert degrees < 0.5 and shift < 0.01


@pytest.mark.long
def test_a_heads_pose_from_its_silhouette():
    verts, faces = head_mesh(12, 14)
    scene = scene_of(verts, faces, np.ones((len(faces), 3)))
    truth = jnp.array([0.25, 0.9, -0.2, 0.1, -0.1, 0.2])
    for seed in range(5):
        found, *_ = fit_pose(away(truth, 15, 0.2, seed), truth, *scene)
        degrees, shift = distance(found, truth)
        assert degrees < 0.5 and shift < 0.01


@pytest.mark.long
def test_a_texture_from_three_views():
    size, texels = 48, 16
    verts, faces = head_mesh(20, 24)
    topology = Topology.from_faces(faces, len(verts))
    length = np.linalg.norm(verts, axis=1)
    uv = np.stack([0.5 + 0.5 * verts[:, 0] / length, 0.5 - 0.5 * verts[:, 1] / length], -1).astype(np.float32)
    poses = jnp.array([[0.0, yaw, 0.0, 0.0, 0.0, 0.0] for yaw in (-0.5, 0.0, 0.5)])
    clips = jax.vmap(lambda pose: to_clip(verts.astype(np.float32), pose))(poses)
    seen = rasterize(clips, topology, size, size)
    where = interpolate(jnp.asarray(uv), seen, topology)
    mask = (seen.face_id >= 0)[..., None]

    def draw(texture):
        color = jnp.where(mask, sample_texture(texture, where), 0.0)
        return antialias(color, clips, seen, topology)

    truth = jnp.asarray(np.random.default_rng(0).uniform(size=(texels, texels, 3)).astype(np.float32))
    found, image, target = fitter(draw, steps=300, rate=0.1)(jnp.full_like(truth, 0.5), truth)
    # texels within the disc that the head's front covers in uv; the rest is seen at the limb or not at all
    at = (np.arange(texels) + 0.5) / texels - 0.5
    front = np.hypot(*np.meshgrid(at, at)) < 0.4
    error = np.abs(np.asarray(found - truth))[front]
    assert front.sum() > 120 and np.abs(0.5 - np.asarray(truth))[front].mean() > 0.2
    assert error.mean() < 0.005 and error.max() < 0.05
    assert np.abs(np.asarray(image - target)).max() < 0.01
