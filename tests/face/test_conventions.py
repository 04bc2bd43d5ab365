"""The whole chain of reference.md §2.2 at once: 257 numbers to pixels and lit colors, written out in numpy.

The numbers are typed from the reference; nothing here knows talkjax but the last function.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from talkjax.face.alignment import standard_camera
from talkjax.face.coeffs import unpack
from talkjax.face.lighting import shade
from talkjax.face.model import face_verts, vertex_normals
from talkjax.face.points import vertex_points
from talkjax.face.pose import apply_pose
from talkjax.numerics import einsum
from talkjax.raster.camera import project
from talkjax.types import FaceModel

FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])  # a flat pyramid, seen from its tip
RNG = np.random.default_rng(7)
MEAN = np.array([[0, 0, 0.3], [0.5, 0, 0], [0, 0.5, 0], [-0.5, 0, 0], [0, -0.5, 0]])
ID_BASE, EX_BASE = RNG.normal(0, 0.01, (80, 5, 3)), RNG.normal(0, 0.01, (64, 5, 3))
TEX_MEAN, TEX_BASE = RNG.uniform(80, 180, (5, 3)), RNG.normal(0, 2.0, (80, 5, 3))


def _reference(coeff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [5 2] (u, v) in the 224 crop and colors [5 3], 0-255, of one vector of 257."""
    alpha, beta, delta = coeff[0:80], coeff[80:144], coeff[144:224]
    rx, ry, rz = coeff[224:227]
    gamma, move = coeff[227:254], coeff[254:257]
    shape = MEAN.copy()
    for k in range(80):
        shape += alpha[k] * ID_BASE[k]
    for k in range(64):
        shape += beta[k] * EX_BASE[k]
    albedo = TEX_MEAN + sum(delta[k] * TEX_BASE[k] for k in range(80))
    normals = np.zeros((5, 3))
    for i, j, k in FACES:
        e1, e2 = shape[i] - shape[j], shape[j] - shape[k]
        across = [
            e1[1] * e2[2] - e1[2] * e2[1],
            e1[2] * e2[0] - e1[0] * e2[2],
            e1[0] * e2[1] - e1[1] * e2[0],
        ]
        for corner in (i, j, k):
            normals[corner] += across
    normals /= np.sqrt((normals**2).sum(1))[:, None]
    about_x = np.array([[1, 0, 0], [0, np.cos(rx), -np.sin(rx)], [0, np.sin(rx), np.cos(rx)]])
    about_y = np.array([[np.cos(ry), 0, np.sin(ry)], [0, 1, 0], [-np.sin(ry), 0, np.cos(ry)]])
    about_z = np.array([[np.cos(rz), -np.sin(rz), 0], [np.sin(rz), np.cos(rz), 0], [0, 0, 1]])
    turn = about_z @ about_y @ about_x
    placed = shape @ turn.T + move
    pixels, colors = np.zeros((5, 2)), np.zeros((5, 3))
    for n in range(5):
        x, y, z = placed[n]
        pixels[n] = 1015 * x / (10 - z) + 112, 224 - (1015 * y / (10 - z) + 112)
        nx, ny, nz = normals[n] @ turn.T
        bands = [
            *(0.886227, -1.772454 * ny, 1.772454 * nz, -1.772454 * nx),
            *(2.427032 * nx * ny, -2.427032 * ny * nz, 0.700624 * (3 * nz**2 - 1)),
            *(-2.427032 * nx * nz, 1.213516 * (nx**2 - ny**2)),
        ]
        for channel in range(3):
            own = gamma[9 * channel : 9 * channel + 9].copy()
            own[0] += 0.8
            colors[n, channel] = albedo[n, channel] * np.dot(bands, own)
    return pixels, colors


def _talkjax(coeff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    floats = (jnp.asarray(a, jnp.float32) for a in (MEAN, ID_BASE, EX_BASE))
    mean, id_basis, exp_basis = floats
    model = FaceModel(
        mean=mean,
        id_basis=id_basis,
        exp_basis=exp_basis,
        exp_signed=jnp.ones(64, bool),
        faces=jnp.asarray(FACES),
        face_region=jnp.zeros(4, jnp.int32),
        uvs=jnp.zeros((5, 2)),
        landmarks=vertex_points(np.zeros(0, int), np.zeros(0, int)),
        tex_mean=jnp.asarray(TEX_MEAN / 255, jnp.float32),
        tex_basis=jnp.asarray(TEX_BASE / 255, jnp.float32),
    )
    coeffs = unpack(jnp.asarray(coeff, jnp.float32))
    verts_cam = apply_pose(face_verts(model, coeffs.id_coeffs, coeffs.exp_coeffs), coeffs.pose)
    albedo = model.tex_mean + einsum("x,xvc->vc", coeffs.tex_coeffs, model.tex_basis)
    lit = shade(albedo, vertex_normals(verts_cam, FACES), coeffs.sh_coeffs)
    return np.asarray(project(verts_cam, standard_camera())), 255 * np.asarray(lit)


def test_pixels_and_colors_of_257_numbers():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        coeff = rng.normal(size=257)
        coeff[224:227] *= 0.3
        coeff[227:254] *= 0.2
        coeff[254:257] = [0.1, -0.2, 0.5]
        pixels, colors = _reference(coeff)
        mine_px, mine_color = _talkjax(coeff)
        np.testing.assert_allclose(mine_px, pixels, atol=2e-3)
        np.testing.assert_allclose(mine_color, colors, atol=0.02)
        assert np.ptp(pixels[:, 0]) > 50 and np.ptp(colors) > 10
