"""Where skin, lips, brows, hair, cloth ... are on a head with ICT-FaceKit's vertices; numpy, once a model.

Places are given in centimetres on ICT-FaceKit's own neutral head (as in `synthetic_paint`), so they serve
every model that keeps its vertices, wherever that model puts its origin.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from talkjax.data import synthetic_mesh as mesh
from talkjax.data.synthetic_body import collar_height, head_share
from talkjax.data.synthetic_mesh import DM_PER_CM, load_person
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

FACE, HEAD, MOUTH, SOCKETS, GUMS, TEETH, EYE_LEFT, EYE_RIGHT = range(8)
_PART_SIZES = (9409, 2043, 2120, 852, 2977, 4412, 770, 770)
"""Vertices of each part, in this order, of the full model that `assets` reads from ICT-FaceKit's files."""

EYE_CENTER_CM = (3.116, 3.602, 7.982)
_EYES_CM = (0.0, 3.61722, 8.43061)
"""Mean of the eyeballs' vertices, which no shape moves but identities: tells a model's origin."""
_SOCKET_BOX_CM = ((1.5, 2.0, 6.4), (4.6, 5.0, 9.4))
_HIDDEN_EYE_CM = 7.6  # eyeballs behind this are never seen
_THROAT_CM = 4.0  # nor the mouth behind this
_AWAY = -0.55  # nor what faces backward by more than this (cosine): heads turn by 25 degrees

MASKS = (
    *(
        "lips",
        "mouth_line",
        "brows_low",
        "brows",
        "brows_high",
        "blood",
        "beard",
        "under_eye",
        "crease",
        "lid_rim",
    ),
    *("nostrils", "cloth", "flesh", "teeth", "sclera", "socket"),
)
_BROWS_UP_CM = (("brows_low", 0.3), ("brows", 0.55), ("brows_high", 0.8))
"""Above where the demo's person has them: the makers of the mesh mark brows there."""
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
      part: [v] FACE .. EYE_RIGHT.
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
    part: np.ndarray
    outward: np.ndarray


def part_of_vertices(model: FaceModel) -> np.ndarray:
    """[v] FACE .. EYE_RIGHT of ICT-FaceKit's full model, or of the person that ships with the package.

    Raises:
      InputError: another model.
    """
    n = model.mean.shape[0]
    if n == sum(_PART_SIZES):
        return np.repeat(np.arange(len(_PART_SIZES)), _PART_SIZES)
    person = load_person()
    if n != len(person.verts):
        raise InputError(
            f"model {model.name} has {n} vertices",
            expected=f"the {sum(_PART_SIZES)} of ICT-FaceKit's full head",
            code="bad_model",
        )
    part = np.full(n, HEAD)
    cm = person.verts / DM_PER_CM
    beside = np.abs(cm) * (1, 0, 0) + cm * (0, 1, 1)
    for number, low, high in ((MOUTH, (0, -5.9, 0.7), (3.5, -0.5, 10.9)), (SOCKETS, *_SOCKET_BOX_CM)):
        part[np.all((beside >= low) & (beside <= high), axis=-1)] = number
    for number, material in (
        *((GUMS, mesh.GUMS), (TEETH, mesh.TEETH), (FACE, mesh.FACE)),
        *((EYE_LEFT, mesh.EYE_LEFT), (EYE_RIGHT, mesh.EYE_RIGHT)),
    ):
        part[person.vertices_of(material)] = number
    return part


def rest_cm(model: FaceModel, part: np.ndarray) -> np.ndarray:
    """The model's mean [v 3] in ICT-FaceKit's own frame, cm."""
    cm = np.asarray(model.mean, np.float64) / DM_PER_CM
    return cm - cm[part >= EYE_LEFT].mean(0) + _EYES_CM


def _kept(cm: np.ndarray, faces: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Triangles worth drawing: not the backs of head and eyeballs, nor the throat."""
    corners, parts = cm[faces], part[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    turned_away = normal[:, 2] < _AWAY * np.linalg.norm(normal, axis=-1)
    behind = (parts >= EYE_LEFT).all(1) & (corners[..., 2].max(1) < _HIDDEN_EYE_CM)
    throat = np.isin(parts, (MOUTH, GUMS, TEETH)).all(1) & (corners[..., 2].max(1) < _THROAT_CM)
    return faces[~turned_away & ~behind & ~throat]


def _welded(cm: np.ndarray, faces: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Triangles that use the face's vertices where the rest of the skin repeats them."""
    skin = np.flatnonzero((part == HEAD) | (part == MOUTH) | (part == SOCKETS))
    face = np.flatnonzero(part == FACE)
    distance, nearest = cKDTree(cm[face]).query(cm[skin], distance_upper_bound=1e-4)
    same = np.arange(len(cm))
    same[skin[np.isfinite(distance)]] = face[nearest[np.isfinite(distance)]]
    return same[faces]


def _normals(cm: np.ndarray, faces: np.ndarray) -> np.ndarray:
    cross = np.cross(cm[faces[:, 1]] - cm[faces[:, 0]], cm[faces[:, 2]] - cm[faces[:, 0]])
    sums = np.stack(
        [sum(np.bincount(faces[:, k], cross[:, c], len(cm)) for k in range(3)) for c in range(3)], -1
    )
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-12)


def _masks(p: np.ndarray, inside: list[np.ndarray], margins: np.ndarray) -> dict[str, np.ndarray]:
    mirrored = np.abs(p) * (1, 0, 0) + p * (0, 1, 1)
    face = inside[FACE]
    lips = sample_decal(front_decal([np.array(LIP_OUTLINE)], 0.07), p) * (p[:, 2] > 8.5) * face
    inner = smoothstep(p[:, 2], 11.15, 10.75) * smoothstep(np.abs(p[:, 0]), 2.6, 1.6) * (lips > 0.02)
    to_margin = np.minimum(cKDTree(margins).query(p, distance_upper_bound=0.2)[0], 1.0)
    brows = front_decal([brow_band()], 0.13)
    return {
        "lips": lips,
        "mouth_line": inner,
        **{name: sample_decal(brows, p - (0, up, 0)) * face for name, up in _BROWS_UP_CM},
        "blood": blood_area(p) * face,
        "beard": beard_area(p) * (face | inside[HEAD]),
        "under_eye": face * bump(mirrored, (2.9, 2.35, 9.2), (1.25, 0.45, 2.5)),
        "crease": face * bump(mirrored, (3.2, 4.55, 9.6), (1.7, 0.32, 2.0)),
        "lid_rim": face * smoothstep(to_margin, 0.16, 0.05),
        "nostrils": face * bump(mirrored, (0.75, -1.15, 11.3), (0.5, 0.42, 0.9)),
        "cloth": smoothstep(collar_height(p), 0.3, -0.3) * (face | inside[HEAD]),
        "flesh": (inside[MOUTH] | inside[GUMS]).astype(float),
        "teeth": inside[TEETH] * (1 - 0.5 * inside[GUMS]),
        "sclera": (inside[EYE_LEFT] | inside[EYE_RIGHT]).astype(float),
        "socket": inside[SOCKETS].astype(float),
    }


def _light_let_in(p: np.ndarray, inside: list[np.ndarray], eye_dir: np.ndarray) -> np.ndarray:
    """Between open lips light fades toward throat, corners and palate (as in `synthetic_materials`); upper
    lids shade the eyes."""
    below = p[:, 1] < -3.3
    shade = np.where(below, 0.6, 0.4 + 0.6 * smoothstep(p[:, 1], -1.4, -2.6))
    light = shade * np.exp(-np.maximum(10.6 - p[:, 2], 0) / 1.9 - (p[:, 0] / 2.6) ** 2)
    lid = 0.55 + 0.35 * smoothstep(eye_dir[:, 1], 0.32, 0.1)
    light = np.where(inside[EYE_LEFT] | inside[EYE_RIGHT], lid, light)
    return np.where(inside[FACE] | inside[HEAD] | inside[SOCKETS], 1.0, light)


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
    part = part_of_vertices(model)
    cm = rest_cm(model, part)
    faces = _welded(cm, _kept(cm, np.asarray(model.faces), part), part)
    verts, local = np.unique(faces, return_inverse=True)
    faces, p = local.reshape(-1, 3).astype(np.int32), cm[verts]
    inside = [part[verts] == k for k in range(len(_PART_SIZES))]
    person = load_person()
    margins = person.verts[np.concatenate(list(person.lids.values()))] / DM_PER_CM
    masks = _masks(p, inside, margins)
    azimuth = np.degrees(np.abs(np.arctan2(p[:, 0], p[:, 2] + 1.0)))
    line = p[:, 1] - np.interp(azimuth, HAIRLINE_DEGREES, HAIRLINE_HEIGHT)
    ear = (np.abs(p[:, 0]) > 7.3) & (p[:, 1] < 5.2) & (np.abs(p[:, 2] + 0.6) < 2.2)
    eye = inside[EYE_LEFT] + 2 * inside[EYE_RIGHT]
    center = np.array(EYE_CENTER_CM) * np.where(eye == 2, -1.0, 1.0)[:, None] ** np.array([1, 0, 0])
    toward = p - center
    eye_dir = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    return HeadRegions(
        verts=verts,
        faces=faces,
        masks=np.stack([masks[name] for name in MASKS]).astype(np.float32),
        above_hairline=np.where(ear | ~(inside[FACE] | inside[HEAD]), -20.0, line).astype(np.float32),
        share=head_share(p * DM_PER_CM).astype(np.float32),
        let_in=_light_let_in(p, inside, eye_dir).astype(np.float32),
        eye=eye.astype(np.int32),
        eye_dir=eye_dir.astype(np.float32),
        noise=_noise_fields(p).astype(np.float32),
        part=part[verts],
        outward=_normals(p, faces).astype(np.float32),
    )


def skin_weight(regions: HeadRegions) -> np.ndarray:
    """[v] 1 on the front of the face, 0 on hair, ears, neck, mouth and eyes."""
    face = (regions.part == FACE) & (regions.outward[:, 2] > -0.2) & (regions.above_hairline < -0.5)
    return (face & (regions.share > 0.95)).astype(np.float32)
