"""What the synthetic head is made of where no texture says so: mouth, tongue, sockets, scalp."""

from __future__ import annotations

import numpy as np

from talkjax.data.synthetic_mesh import BACK, DM_PER_CM, FACE, GUMS, TEETH, PersonMesh
from talkjax.data.synthetic_noise import linear_from_srgb, smoothstep
from talkjax.data.synthetic_paint import SkinPainter


def _in_box(points: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    return np.all((points >= np.array(low)) & (points <= np.array(high)), axis=-1)


def vertex_paint(
    rest: PersonMesh, painter: SkinPainter
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per geometry vertex: linear colour (1 where the atlas has it), shine, interior share, tongue share."""
    cm = rest.verts / DM_PER_CM
    mirrored = np.abs(cm) * (1, 0, 0) + cm * (0, 1, 1)
    n = len(cm)
    tint, shine, interior, tongue = np.ones((n, 3)), np.ones(n), np.zeros(n), np.zeros(n)
    face, back, gums, teeth = (rest.vertices_of(m) for m in (FACE, BACK, GUMS, TEETH))
    tint[back], shine[back] = painter.paint(rest.verts[back], fine=False)
    socket = back[_in_box(mirrored[back], (1.5, 2.0, 6.4), (4.6, 5.0, 9.4))]
    tint[socket], shine[socket] = linear_from_srgb((0.50, 0.28, 0.25)), 0.3
    back = np.setdiff1d(back, face)
    cavity = back[_in_box(mirrored[back], (0.0, -5.9, 0.7), (3.5, -0.5, 10.9))]
    tint[cavity], interior[cavity] = linear_from_srgb((0.36, 0.13, 0.13)), 1.0
    tint[gums], shine[gums], interior[gums] = linear_from_srgb((0.66, 0.36, 0.36)), 1.6, 1.0
    tint[teeth], shine[teeth], interior[teeth] = linear_from_srgb((0.90, 0.87, 0.79)), 2.0, 1.0
    upper = cm[teeth, 1] > -3.2
    neck = np.where(upper, smoothstep(cm[teeth, 1], -2.35, -1.9), smoothstep(cm[teeth, 1], -4.0, -4.4))
    tint[teeth] *= 1 - neck[:, None] * np.array([0.15, 0.25, 0.4])
    jaw = np.linalg.norm(rest.expressions[rest.expression_names.index("jawOpen")], axis=-1) / DM_PER_CM
    moving = np.zeros(n)
    moving[: len(jaw)] = jaw
    uv = np.zeros((n, 2))
    uv[rest.corner_vert] = rest.corner_uv
    island = ((uv[:, 0] > 0.5) & (uv[:, 1] > 0.5)) | (
        (uv[:, 0] < 0.27) & (uv[:, 1] > 0.55) & (uv[:, 1] < 0.83)
    )
    is_tongue = gums[island[gums] & (moving[gums] > 1.2)]
    tongue[is_tongue] = smoothstep(cm[is_tongue, 2], 4.5, 9.2)
    tint[is_tongue] = linear_from_srgb((0.72, 0.42, 0.41))
    return tint, shine, interior, tongue


def mouth_light(
    rest: PersonMesh, interior: np.ndarray, exposure: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light let in between open lips, [v], and the exposure at rest without the places that it replaces.

    Fades toward the throat, the corners and the palate. The lips' inner sides touch at rest: else black.
    """
    cm = rest.verts / DM_PER_CM
    depth = np.maximum(10.4 - cm[:, 2], 0)
    below = cm[:, 1] < -3.3
    shade = np.where(below, 0.52, 0.35 + 0.65 * smoothstep(cm[:, 1], -1.4, -2.6))
    light = interior * shade * np.exp(-depth / 1.7 - (cm[:, 0] / 2.4) ** 2)
    face = np.zeros(len(cm), bool)
    face[rest.vertices_of(FACE)] = True
    lips = face & (np.abs(cm[:, 0]) < 2.0) & (np.abs(cm[:, 1] + 3.4) < 0.9) & (cm[:, 2] > 9.2)
    light = np.where(
        lips, 0.75 * smoothstep(exposure, 0.45, 0.1) * np.exp(-np.maximum(11.2 - cm[:, 2], 0) / 0.9), light
    )
    return light, np.where(interior > 0, 0.0, exposure)
