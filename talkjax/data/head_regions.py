"""Where skin, lips, brows, hair, cloth ... are on a head with ICT-FaceKit's vertices; numpy, once a model.

Places are given in centimetres on ICT-FaceKit's own neutral head (as in `synthetic_paint`), so they serve
every model that keeps its vertices, wherever that model puts its origin.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from talkjax.data.synthetic_body import collar_height, head_share
from talkjax.data.synthetic_mesh import DM_PER_CM
from talkjax.data.synthetic_noise import bump, smoothstep
from talkjax.data.synthetic_paint import (
    HAIRLINE_DEGREES,
    HAIRLINE_HEIGHT,
    LIP_OUTLINE,
    beard_area,
    blood_area,
    brow_band,
    front_decal,
    sample_decal,
)
from talkjax.errors import InputError
from talkjax.types import FaceModel

N_ICT_VERTS = 26719
PARTS = {
    "face": (0, 9409),
    "head": (9409, 11248),
    "mouth": (11248, 13294),
    "sockets": (13294, 14062),
    "gums": (14062, 17039),
    "teeth": (17039, 21451),
    "eye_left": (21451, 22221),
    "eye_right": (23021, 23791),
}
"""Vertex ranges of ICT-FaceKit's light model that are drawn (its own table of vertex ranges)."""

LASHES = (25351, 26719)
EYE_CENTER_CM = (3.116, 3.602, 7.982)
_EYES_CM = (0.0, 3.61722, 8.43061)
"""Mean of the eyeballs' vertices, which no shape moves but identities: tells a model's origin."""
_HIDDEN_EYE_CM = 7.6  # eyeballs behind this are never seen
_THROAT_CM = 4.0  # nor the mouth behind this
_AWAY = -0.55  # nor what faces backward by more than this (cosine): heads turn by 25 degrees

MASKS = (
    *("lips", "mouth_line", "brows", "blood", "beard", "under_eye", "crease", "lid_rim"),
    *("nostrils", "cloth", "flesh", "teeth", "sclera", "socket"),
)
N_NOISE = (6, 8, 10, 10)
NOISE_CM = (9.0, 4.0, 1.8, 0.8)
"""Random fields over the head: how many, and of what wavelength."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadRegions:
    """What is where, per vertex of the drawn mesh (`verts` of the model, in this order).

    Attributes:
      verts: [v] vertices of the model that are drawn. faces: [f 3] triangles of them.
      masks: [m v] in [0, 1], rows as in `MASKS`.
      above_hairline: [v] cm; hair grows where it is positive.
      share: [v] how much it follows the head rather than the shoulders.
      let_in: [v] light that reaches it, 0..1: less between open lips and under the lids, else 1.
      eye: [v] 0 none, 1 left, 2 right. eye_dir: [v 3] unit direction from the eyeball's center.
      noise: [k v] random fields, std about 1.
      outward: [v 3] unit normals at rest.
    """

    verts: np.ndarray
    faces: np.ndarray
    masks: np.ndarray
    above_hairline: np.ndarray
    share: np.ndarray
    let_in: np.ndarray
    eye: np.ndarray
    eye_dir: np.ndarray
    noise: np.ndarray
    outward: np.ndarray


def rest_cm(model: FaceModel) -> np.ndarray:
    """The model's mean in ICT-FaceKit's own frame, cm.

    Raises:
      InputError: the model does not have ICT-FaceKit's vertices.
    """
    mean = np.asarray(model.mean, np.float64)
    if len(mean) != N_ICT_VERTS:
        raise InputError(
            f"model {model.name} has {len(mean)} vertices",
            expected=f"the {N_ICT_VERTS} of ICT-FaceKit's light model",
            code="bad_model",
        )
    cm = mean / DM_PER_CM
    eyes = np.concatenate([cm[slice(*PARTS["eye_left"])], cm[slice(*PARTS["eye_right"])]])
    return cm - eyes.mean(0) + _EYES_CM


def _kept(cm: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles worth drawing: no fluids, lashes, inner irises, backs of eyeballs."""
    part = np.full(N_ICT_VERTS, -1)
    for k, (first, end) in enumerate(PARTS.values()):
        part[first:end] = k
    drawn = (part[faces] >= 0).all(1)
    eyes = (part[faces] >= list(PARTS).index("eye_left")).all(1)
    corners = cm[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    turned_away = normal[:, 2] < _AWAY * np.linalg.norm(normal, axis=-1)
    behind = eyes & (corners[..., 2].max(1) < _HIDDEN_EYE_CM)
    mouth = ((faces >= PARTS["mouth"][0]) & (faces < PARTS["teeth"][1])).all(1)
    return faces[drawn & ~turned_away & ~behind & ~(mouth & (corners[..., 2].max(1) < _THROAT_CM))]


def _normals(cm: np.ndarray, faces: np.ndarray) -> np.ndarray:
    cross = np.cross(cm[faces[:, 1]] - cm[faces[:, 0]], cm[faces[:, 2]] - cm[faces[:, 0]])
    sums = np.stack(
        [sum(np.bincount(faces[:, k], cross[:, c], len(cm)) for k in range(3)) for c in range(3)], -1
    )
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-12)


def _masks(p: np.ndarray, inside: dict[str, np.ndarray], lashes: np.ndarray) -> dict[str, np.ndarray]:
    mirrored = np.abs(p) * (1, 0, 0) + p * (0, 1, 1)
    face = inside["face"]
    lips = sample_decal(front_decal([np.array(LIP_OUTLINE)], 0.07), p) * (p[:, 2] > 8.5) * face
    inner = smoothstep(p[:, 2], 11.15, 10.75) * smoothstep(np.abs(p[:, 0]), 2.6, 1.6) * (lips > 0.02)
    to_lashes = np.minimum(cKDTree(lashes).query(p, distance_upper_bound=0.2)[0], 1.0)
    return {
        "lips": lips,
        "mouth_line": inner,
        "brows": sample_decal(front_decal([brow_band()], 0.13), p) * face,
        "blood": blood_area(p) * face,
        "beard": beard_area(p) * (face | inside["head"]),
        "under_eye": face * bump(mirrored, (2.9, 2.35, 9.2), (1.25, 0.45, 2.5)),
        "crease": face * bump(mirrored, (3.2, 4.55, 9.6), (1.7, 0.32, 2.0)),
        "lid_rim": face * smoothstep(to_lashes, 0.16, 0.05),
        "nostrils": face * bump(mirrored, (0.75, -1.15, 11.3), (0.5, 0.42, 0.9)),
        "cloth": smoothstep(collar_height(p), 0.3, -0.3) * (face | inside["head"]),
        "flesh": (inside["mouth"] | inside["gums"]).astype(float),
        "teeth": inside["teeth"] * (1 - 0.5 * inside["gums"]),
        "sclera": (inside["eye_left"] | inside["eye_right"]).astype(float),
        "socket": inside["sockets"].astype(float),
    }


def _light_let_in(p: np.ndarray, inside: dict[str, np.ndarray], eye_dir: np.ndarray) -> np.ndarray:
    """Between open lips light fades toward throat, corners and palate (as in `synthetic_materials`); the upper
    lid shades the eye."""
    below = p[:, 1] < -3.3
    shade = np.where(below, 0.6, 0.4 + 0.6 * smoothstep(p[:, 1], -1.4, -2.6))
    light = shade * np.exp(-np.maximum(10.6 - p[:, 2], 0) / 1.9 - (p[:, 0] / 2.6) ** 2)
    lid = 0.55 + 0.35 * smoothstep(eye_dir[:, 1], 0.32, 0.1)
    light = np.where(inside["eye_left"] | inside["eye_right"], lid, light)
    return np.where(inside["face"] | inside["head"] | inside["sockets"], 1.0, light)


def _noise_fields(p: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(20)
    fields = []
    for count, wavelength in zip(N_NOISE, NOISE_CM, strict=True):
        wave = rng.standard_normal((count, 3)) * (2 * np.pi / wavelength) / np.sqrt(3)
        fields.append(np.sqrt(2) * np.cos(wave @ p.T + rng.uniform(0, 2 * np.pi, (count, 1))))
    return np.concatenate(fields)


def head_regions(model: FaceModel) -> HeadRegions:
    """Sorts the vertices of an ICT-FaceKit head.

    Raises:
      InputError: the model does not have ICT-FaceKit's vertices.
    """
    cm = rest_cm(model)
    faces = _kept(cm, np.asarray(model.faces))
    verts, local = np.unique(faces, return_inverse=True)
    faces, p = local.reshape(-1, 3).astype(np.int32), cm[verts]
    inside = {name: (verts >= first) & (verts < end) for name, (first, end) in PARTS.items()}
    masks = _masks(p, inside, cm[slice(*LASHES)])
    azimuth = np.degrees(np.abs(np.arctan2(p[:, 0], p[:, 2] + 1.0)))
    line = p[:, 1] - np.interp(azimuth, HAIRLINE_DEGREES, HAIRLINE_HEIGHT)
    ear = (np.abs(p[:, 0]) > 7.3) & (p[:, 1] < 5.2) & (np.abs(p[:, 2] + 0.6) < 2.2)
    eye = inside["eye_left"] + 2 * inside["eye_right"]
    center = np.array(EYE_CENTER_CM) * np.where(eye == 2, -1.0, 1.0)[:, None] ** np.array([1, 0, 0])
    toward = p - center
    eye_dir = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    return HeadRegions(
        verts=verts,
        faces=faces,
        masks=np.stack([masks[name] for name in MASKS]).astype(np.float32),
        above_hairline=np.where(ear | ~(inside["face"] | inside["head"]), -20.0, line).astype(np.float32),
        share=head_share(p * DM_PER_CM).astype(np.float32),
        let_in=_light_let_in(p, inside, eye_dir).astype(np.float32),
        eye=eye.astype(np.int32),
        eye_dir=eye_dir.astype(np.float32),
        noise=_noise_fields(p).astype(np.float32),
        outward=_normals(p, faces).astype(np.float32),
    )
