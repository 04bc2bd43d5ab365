"""Landmarks found on a mesh: on the lifted faces, where the answer is known, and on a bent, finer copy."""

from __future__ import annotations

import numpy as np

from talkjax.assets.correspondence import _closest_barycentrics, dense_landmarks, landmark_template
from talkjax.face import mesh468

ANCHORS = (
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327, 33, 160, 158, 133),
    *(
        153,
        144,
        362,
        385,
        387,
        263,
        373,
        380,
        61,
        39,
        37,
        0,
        267,
        269,
        291,
        405,
        314,
        17,
        84,
        181,
        78,
        81,
        13,
    ),
    *(311, 308, 402, 14, 178, 152),
)
SKIN_FACES = mesh468.FACES[mesh468.FACE_REGION == 0]
INNER = np.setdiff1d(np.arange(468), mesh468.FACE_OVAL)


def test_nearest_place_of_a_triangle_is_that_of_a_dense_search() -> None:
    rng = np.random.default_rng(0)
    corners, points = rng.normal(size=(40, 3, 3)), rng.normal(size=(40, 3)) * 1.5
    grid = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    places = np.einsum("gk,nkc->ngc", grid, corners)
    best = np.linalg.norm(places - points[:, None], axis=-1).min(1)
    bary = _closest_barycentrics(points, corners)
    found = np.linalg.norm(np.einsum("nk,nkc->nc", bary, corners) - points, axis=-1)
    assert (bary >= 0).all() and np.allclose(bary.sum(-1), 1)
    assert (found <= best + 1e-9).all() and (best - found < 0.1).all()


def test_a_changed_face_of_the_same_mesh_gets_its_own_vertices() -> None:
    template = landmark_template()
    other = template * [1.06, 0.95, 1.1]  # a wider, shorter, deeper face
    other[:, 2] += 0.08 * np.cos(3 * template[:, 1]) * np.exp(-((template[:, 0] / 0.3) ** 2))
    found = dense_landmarks(other, SKIN_FACES, {n: n for n in ANCHORS})
    places = np.einsum("nk,nkc->nc", np.asarray(found.bary), other[np.asarray(found.verts)])
    error = np.linalg.norm(places - other, axis=1) / 0.9 * 100  # % of the eye distance
    assert error[list(ANCHORS)].max() < 1e-4
    assert error[mesh468.LIPS].mean() < 1.0 and error[INNER].mean() < 1.0
