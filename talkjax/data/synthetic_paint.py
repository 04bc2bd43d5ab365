"""Paints the synthetic person: skin, lips, brows' ground, eyes and fabric, all procedural.

Colours are decided as functions of the position on the neutral head (cm here: easy to check with a ruler), so
a texel and a vertex at the same place agree. Everything is linear light unless it says sRGB.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from talkjax.data.synthetic_mesh import DM_PER_CM, FACE, PersonMesh
from talkjax.data.synthetic_noise import SpaceNoise, bump, linear_from_srgb, smoothstep
from talkjax.raster.interpolate import interpolate
from talkjax.raster.rasterize import rasterize
from talkjax.raster.topology import Topology

LIP_OUTLINE = (
    (0.0, -2.70),
    (0.62, -2.56),
    (1.25, -2.76),
    (1.75, -3.03),
    (2.10, -3.27),
    (2.42, -3.52),
    (2.10, -3.74),
    (1.75, -3.97),
    (1.30, -4.21),
    (0.65, -4.38),
    (0.0, -4.43),
)
"""Left half of the lips' outer border on the neutral face, front view, cm (read off the mesh's own fold)."""

BROW_SPINE = ((1.40, 4.78), (2.2, 4.95), (3.2, 5.13), (4.2, 5.22), (5.0, 5.06), (5.80, 4.62))
BROW_HALF_WIDTH = (0.36, 0.40, 0.36, 0.30, 0.20, 0.08)

HAIRLINE_DEGREES = (0, 20, 35, 48, 58, 66, 72, 78, 84, 92, 104, 116, 132, 155, 180)
HAIRLINE_HEIGHT = (9.6, 10.1, 10.6, 9.4, 7.4, 5.4, 3.2, 1.3, 3.2, 5.3, 5.0, 2.5, -2.5, -5.6, -6.0)
"""Height (cm) above which hair grows, by azimuth around the vertical axis: 0 front, 180 back."""


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours of one person, sRGB in [0, 1], and how much of a beard shadow."""

    skin: tuple[float, float, float] = (0.80, 0.60, 0.50)
    lips: tuple[float, float, float] = (0.70, 0.38, 0.37)
    hair: tuple[float, float, float] = (0.20, 0.135, 0.095)
    iris: tuple[float, float, float] = (0.33, 0.44, 0.47)
    shirt: tuple[float, float, float] = (0.22, 0.31, 0.42)
    stubble: float = 0.5


LOOKS = (
    Look(),
    Look(
        (0.84, 0.66, 0.57),
        (0.72, 0.42, 0.41),
        (0.45, 0.30, 0.17),
        (0.30, 0.36, 0.24),
        (0.40, 0.22, 0.22),
        0.2,
    ),
    Look(
        (0.62, 0.43, 0.33),
        (0.52, 0.30, 0.29),
        (0.09, 0.07, 0.06),
        (0.26, 0.16, 0.10),
        (0.55, 0.52, 0.45),
        0.4,
    ),
    Look(
        (0.44, 0.29, 0.22),
        (0.38, 0.21, 0.20),
        (0.05, 0.045, 0.04),
        (0.20, 0.12, 0.08),
        (0.30, 0.38, 0.30),
        0.3,
    ),
)


def hair_mask(points_cm: np.ndarray, softness: float = 0.5) -> np.ndarray:
    """1 where scalp hair grows, 0 on skin, blended over `softness` cm of height."""
    azimuth = np.degrees(np.abs(np.arctan2(points_cm[..., 0], points_cm[..., 2] + 1.0)))
    line = np.interp(azimuth, HAIRLINE_DEGREES, HAIRLINE_HEIGHT)
    ear = (
        (np.abs(points_cm[..., 0]) > 7.3)
        & (points_cm[..., 1] < 5.2)
        & (np.abs(points_cm[..., 2] + 0.6) < 2.2)
    )
    return smoothstep(points_cm[..., 1] - line, -softness, softness) * ~ear


def front_decal(polygons: list[np.ndarray], blur_cm: float, per_cm: int = 50) -> np.ndarray:
    """Filled polygons (front view, cm; mirrored over x = 0) as a soft mask over x, y in [-10, 10]."""
    image = np.zeros((20 * per_cm, 20 * per_cm), np.uint8)
    for polygon in polygons:
        for sign in (1, -1):
            xy = polygon * (sign, 1)
            px = np.stack([(xy[:, 0] + 10) * per_cm, (10 - xy[:, 1]) * per_cm], -1)
            cv2.fillPoly(image, [np.round(px * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), blur_cm * per_cm)


def sample_decal(decal: np.ndarray, points_cm: np.ndarray, per_cm: int = 50) -> np.ndarray:
    shape = points_cm.shape[:-1]
    x = ((points_cm[..., 0] + 10) * per_cm).astype(np.float32).reshape(-1, 1)
    y = ((10 - points_cm[..., 1]) * per_cm).astype(np.float32).reshape(-1, 1)
    values = [
        cv2.remap(decal, x[i : i + 30000], y[i : i + 30000], cv2.INTER_LINEAR)
        for i in range(0, len(x), 30000)
    ]
    return np.concatenate(values).reshape(shape) * (points_cm[..., 2] > 3.0)


def brow_band() -> np.ndarray:
    """Outline [n 2] of the left brow, front view, cm."""
    spine, half = np.array(BROW_SPINE), np.array(BROW_HALF_WIDTH)
    return np.concatenate([spine + half[:, None] * (0, 1), (spine - half[:, None] * (0, 1))[::-1]])


def blood_area(p: np.ndarray) -> np.ndarray:
    """Where blood shows through: cheeks, nose, chin, ears, lids; about 0..1."""
    mirrored = p * (np.sign(p[..., :1]) * (1, 0, 0) + (0, 1, 1))
    cheeks = bump(mirrored, (4.9, -0.2, 8.5), (2.3, 1.9, 4.0))
    nose = bump(mirrored, (0.0, -0.2, 12.8), (1.4, 1.2, 1.6))
    chin = 0.5 * bump(mirrored, (0.0, -6.6, 11.0), (1.8, 1.2, 3.0))
    ears = 0.8 * bump(mirrored, (9.2, 1.2, -0.5), (1.4, 3.4, 3.0))
    lids = 0.55 * bump(mirrored, (3.1, 3.5, 9.0), (1.9, 1.0, 3.0))
    return np.clip(cheeks + nose + chin + ears + lids, 0.0, 1.2)


def beard_area(p: np.ndarray) -> np.ndarray:
    """Beard area 0..1: upper lip, chin, jaw to the sideburns, fading on the neck."""
    x = np.abs(p[..., 0])
    jaw = smoothstep(p[..., 1] + 0.55 * x, 0.6, -1.2) * smoothstep(p[..., 1], -13.5, -9.5)
    cheeks = smoothstep(x, 5.6, 7.0) * smoothstep(p[..., 1], 2.0, 0.0) * smoothstep(p[..., 1], -13, -9.5)
    upper_lip = smoothstep(p[..., 1], -1.35, -1.9) * smoothstep(x, 3.3, 2.4)
    return np.clip(np.maximum(np.maximum(jaw, 0.8 * cheeks), upper_lip), 0, 1) * smoothstep(
        p[..., 2], 0.5, 2.5
    )


class SkinPainter:
    """Skin colour and shine at any place of the neutral head."""

    def __init__(self, look: Look, noise: SpaceNoise, lids_cm: np.ndarray) -> None:
        self._look, self._noise, self._lids = look, noise, lids_cm
        half = np.array(LIP_OUTLINE)
        self._lips = front_decal([half], 0.07)
        self._brow = front_decal([brow_band()], 0.13)

    def paint(self, points: np.ndarray, fine: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Positions [..., 3] dm -> (albedo [..., 3] linear, shine [...] 0..1); `fine` adds pores."""
        p = points / DM_PER_CM
        noise, look = self._noise, self._look
        skin = linear_from_srgb(look.skin)
        mottle = noise.fractal(p, 2.4, 4)
        albedo = skin * (1 + 0.045 * mottle[..., None] * (0.7, 1.0, 1.1))
        blood = blood_area(p) * (1 + 0.25 * noise.field(p, 0.9))
        albedo = albedo * (1 + blood[..., None] * np.array([0.03, -0.20, -0.19]))
        mirrored = p * (np.sign(p[..., :1]) * (1, 0, 0) + (0, 1, 1))
        under_eye = bump(mirrored, (2.9, 2.35, 9.2), (1.25, 0.45, 2.5)) + 0.8 * bump(
            mirrored, (1.75, 3.3, 9.4), (0.5, 0.8, 1.5)
        )
        crease = bump(mirrored, (3.2, 4.55, 9.6), (1.7, 0.32, 2.0))
        albedo = albedo * (1 - under_eye[..., None] * np.array([0.20, 0.26, 0.22]))
        albedo = albedo * (1 - crease[..., None] * np.array([0.16, 0.22, 0.24]))
        albedo = albedo * (1 + 0.05 * bump(p, (0.0, 7.5, 11.0), (4.5, 2.5, 4.0)))[..., None]
        shine = 0.55 + 0.45 * np.clip(
            bump(p, (0.0, 2.0, 12.0), (1.1, 4.5, 3.0)) + 0.7 * bump(p, (0.0, 7.5, 11.5), (3.5, 2.2, 3.0)),
            0,
            1,
        )
        albedo, shine = self._paint_hair_ground(p, albedo, shine, fine)
        albedo, shine = self._paint_lips(p, albedo, shine, fine)
        if fine:
            albedo = self._paint_spots(p, albedo)
            pores = noise.field(p, 0.06) + 0.7 * noise.field(p, 0.12)
            albedo = albedo * (1 + 0.028 * pores)[..., None]
            shine = np.clip(shine * (1 + 0.35 * pores), 0, 1.5)
            albedo = self._paint_lid_margins(p, albedo)
        return np.clip(albedo, 0.0, 1.0), shine

    def _paint_hair_ground(
        self, p: np.ndarray, albedo: np.ndarray, shine: np.ndarray, fine: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colour of the skin under brows, beard and scalp hair."""
        noise = self._noise
        hair = linear_from_srgb(self._look.hair)
        beard = self._look.stubble * beard_area(p)
        if fine:
            beard = beard * np.clip(0.65 + 0.55 * noise.field(p, 0.075) + 0.25 * noise.field(p, 0.5), 0, 1.6)
        albedo = albedo * (1 - 0.42 * beard[..., None] * np.array([1.0, 0.93, 0.86]))
        brow = 0.34 * sample_decal(self._brow, p)
        albedo = albedo * (1 - brow[..., None]) + brow[..., None] * hair * 1.3
        ragged = p + (0.30 * noise.field(p * (1.0, 0.3, 1.0), 0.22))[..., None] * (0, 1, 0)
        scalp = 0.92 * hair_mask(ragged - (0, 0.5, 0), 0.9)
        albedo = albedo * (1 - scalp[..., None]) + scalp[..., None] * hair * 0.8
        return albedo, shine * (1 - 0.9 * scalp)

    def _paint_lips(
        self, p: np.ndarray, albedo: np.ndarray, shine: np.ndarray, fine: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        lips = sample_decal(self._lips, p) * (p[..., 2] > 8.5)
        wrinkles = self._noise.field(p * (1.0, 0.16, 0.16), 0.11) if fine else 0.0
        color = linear_from_srgb(self._look.lips) * (1 + 0.10 * np.asarray(wrinkles)[..., None])
        upper = smoothstep(p[..., 1], -3.38, -3.2)  # the upper lip faces down and reads darker
        color = color * (1 - 0.16 * upper)[..., None]
        inner = smoothstep(p[..., 2], 11.15, 10.75) * smoothstep(np.abs(p[..., 0]), 2.6, 1.6)
        color = color * (1 - inner[..., None]) + inner[..., None] * linear_from_srgb((0.50, 0.20, 0.20))
        amount = np.maximum(0.88 * lips, inner * (lips > 0.02))[..., None]
        return albedo * (1 - amount) + amount * color, shine * (1 + 0.9 * lips)

    def _paint_spots(self, p: np.ndarray, albedo: np.ndarray) -> np.ndarray:
        """A few moles and many faint freckles; their places are fixed on the head, not mirrored."""
        freckles = smoothstep(self._noise.field(p, 0.22), 1.7, 2.6) * bump(
            p * (0.6, 1, 1), (0.0, 0.8, 10.5), (3.6, 2.6, 4.5)
        )
        albedo = albedo * (1 - 0.16 * freckles[..., None] * np.array([0.6, 1.0, 1.2]))
        for x, y, z, radius in ((4.1, -1.7, 9.6, 0.11), (-5.6, 1.9, 7.6, 0.10), (-2.4, -5.6, 10.4, 0.09)):
            distance = np.sqrt(((p[..., :2] - (x, y)) ** 2).sum(-1))
            mole = smoothstep(distance, radius, 0.5 * radius) * (np.abs(p[..., 2] - z) < 2.5)
            albedo = albedo * (1 - 0.55 * mole[..., None] * np.array([0.8, 1.0, 1.0]))
        return albedo

    def _paint_lid_margins(self, p: np.ndarray, albedo: np.ndarray) -> np.ndarray:
        """Wet pink rim of the lids, and the pink corner of the eye."""
        distance = cKDTree(self._lids).query(p.reshape(-1, 3), distance_upper_bound=0.2)[0]
        rim = smoothstep(np.minimum(distance, 1.0), 0.16, 0.05).reshape(p.shape[:-1])[..., None]
        return albedo * (1 - 0.55 * rim) + 0.55 * rim * linear_from_srgb(self._look.lips)


@functools.partial(jax.jit, static_argnames="size")
def _texel_positions(
    clip: jax.Array, points: jax.Array, topology: Topology, size: int
) -> tuple[jax.Array, jax.Array]:
    """Place on the head of every texel [size size 3] and which texels are used."""
    fragments = rasterize(clip, topology, size, size)
    return interpolate(points, fragments, topology), fragments.face_id >= 0


def paint_face(mesh: PersonMesh, painter: SkinPainter, size: int = 1024) -> np.ndarray:
    """Face texture [size size 4]: linear albedo and shine, in the face model's own uv layout."""
    keep = mesh.face_material == FACE
    corners, faces = np.unique(mesh.faces[keep], return_inverse=True)
    uv = mesh.corner_uv[corners]
    clip = np.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1], 0 * uv[:, 0], 1 + 0 * uv[:, 0]], -1)
    topology = Topology.from_faces(faces.reshape(-1, 3).astype(np.int32), len(corners))

    at = jnp.asarray(mesh.verts[mesh.corner_vert[corners]], jnp.float32)
    points, covered = _texel_positions(jnp.asarray(clip, jnp.float32), at, topology, size)
    covered = np.asarray(covered)
    albedo, shine = painter.paint(np.asarray(points, np.float64)[covered])
    texture = np.zeros((size, size, 4), np.float32)
    texture[covered] = np.concatenate([albedo, shine[:, None]], -1)
    return _bleed(texture, covered)


def _bleed(texture: np.ndarray, covered: np.ndarray, texels: int = 6) -> np.ndarray:
    """Repeats the border outward, so that bilinear samples at a seam read paint only."""
    distance, (row, column) = distance_transform_edt(~covered, return_indices=True)
    fresh = ~covered & (distance <= texels)
    texture[fresh] = texture[row[fresh], column[fresh]]
    return texture


def paint_eye(look: Look, noise: SpaceNoise, size: int = 256) -> np.ndarray:
    """Eye texture [size size 4], looking along its centre; |u - .5| = .5 is the equator of the eyeball.

    The distance from the centre is sin(angle from the gaze axis) / 2, so texels are dense where it matters.
    """
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ring = np.stack([np.cos(angle), np.sin(angle), 0.35 * radius], -1)
    streaks = noise.field(ring, 0.09) + 0.6 * noise.field(ring, 0.045)
    iris_edge, pupil_edge = 0.350, 0.135
    depth = np.clip((radius - pupil_edge) / (iris_edge - pupil_edge), 0, 1)
    base = linear_from_srgb(look.iris)
    iris = base * (0.75 + 0.55 * depth + 0.20 * streaks)[..., None]
    warm = smoothstep(depth, 0.45, 0.05)[..., None] * 0.45
    iris = iris * (1 - warm) + warm * linear_from_srgb((0.42, 0.29, 0.15)) * (0.9 + 0.25 * streaks)[..., None]
    iris = iris * (1 - 0.75 * smoothstep(depth, 0.72, 1.0))[..., None]  # limbal ring
    iris = (
        iris * (1 + 0.45 * np.clip(y / iris_edge, -1, 1))[..., None]
    )  # light enters from above, lands below
    sclera = np.broadcast_to(linear_from_srgb((0.86, 0.835, 0.81)), iris.shape).copy()
    points = np.stack([x, y, 0 * x], -1)
    veins = np.exp(-((noise.fractal(points, 0.30, 3) / 0.10) ** 2)) * smoothstep(radius, 0.45, 0.95)
    sclera *= 1 - 0.30 * veins[..., None] * np.array([0.15, 1.0, 0.9])
    sclera *= 1 - 0.35 * smoothstep(radius, 0.5, 1.0)[..., None] * np.array([0.25, 1.0, 1.0])
    eye = sclera + (iris - sclera) * smoothstep(radius, iris_edge + 0.035, iris_edge - 0.02)[..., None]
    eye = eye * (1 - 0.985 * smoothstep(radius, pupil_edge + 0.018, pupil_edge - 0.012))[..., None]
    return np.concatenate([np.clip(eye, 0, 1), np.full((size, size, 1), 0.6)], -1).astype(np.float32)


def paint_fabric(look: Look, noise: SpaceNoise, rows: int, columns: int) -> np.ndarray:
    """Knitted shirt texture [rows columns 4]: v runs from the collar down, u around the body."""
    v, u = np.meshgrid(np.arange(rows) / rows, np.arange(columns) / columns, indexing="ij")
    points = np.stack([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u), 2.5 * v], -1)
    cloud = noise.fractal(points, 0.5, 4)
    knit = np.sin(2 * np.pi * u * 150) * np.sin(2 * np.pi * v * 90 + np.pi * np.floor(u * 300))
    collar = smoothstep(v, 0.075, 0.065)
    rib = np.sin(2 * np.pi * u * 130)
    shade = 1 + 0.10 * cloud + 0.04 * knit * (1 - collar) + 0.20 * rib * collar
    shade *= 1 - 0.45 * np.exp(-(((v - 0.073) / 0.006) ** 2))  # seam under the collar band
    albedo = linear_from_srgb(look.shirt) * shade[..., None]
    return np.concatenate([np.clip(albedo, 0, 1), np.full((rows, columns, 1), 0.05)], -1).astype(np.float32)
