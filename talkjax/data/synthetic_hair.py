"""Hair, brows and lashes as thin tapered ribbons along curved strands, built once per person in numpy.

Each strand hangs on a face vertex (`anchor`): brows and lashes follow the skin's motion; scalp hair sits
where the skin does not move. Model space. Lengths in centimetres inside, decimetres in `Strands`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from talkjax.data.synthetic_mesh import BACK, DM_PER_CM, EYE_CENTER, FACE, PersonMesh
from talkjax.data.synthetic_noise import linear_from_srgb, smoothstep
from talkjax.data.synthetic_paint import BROW_HALF_WIDTH, BROW_SPINE, Look, hair_mask


@dataclasses.dataclass(frozen=True)
class Strands:
    """s strands of k points each.

    Attributes:
      points: [s k 3] neutral positions, dm.
      half_width: [s k] dm.
      anchor: [s] geometry vertex whose displacement moves the strand.
      normal: [s 3] skin normal at the root.
      albedo: [s k 3] linear, darkened toward the root.
      blink: [s 2] how far the strand turns down with the left and right upper lid, 0..1.
      shine: [s] strength of the highlight.
    """

    points: np.ndarray
    half_width: np.ndarray
    anchor: np.ndarray
    normal: np.ndarray
    albedo: np.ndarray
    blink: np.ndarray
    shine: np.ndarray


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def _tangent(flow: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return _unit(flow - normal * (flow * normal).sum(-1, keepdims=True))


def _scalp_roots(
    mesh: PersonMesh, normals: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random roots on the hairy part of the head: positions cm, normals, nearest vertices."""
    triangles = mesh.corner_vert[mesh.faces[np.isin(mesh.face_material, (FACE, BACK))]]
    corners = mesh.verts[triangles] / DM_PER_CM
    centers = corners.mean(1)
    outside = (normals[triangles].mean(1) * (centers - (0, 3.0, -1.0))).sum(-1) > 0  # not the eye sockets
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    weight = area * hair_mask(centers, 0.8) * outside * (np.abs(centers[:, 0]) < 8.6)
    weight *= 0.05 + 0.95 * smoothstep(centers[:, 2], -4.5, -0.5)  # the back of the head is never seen
    chosen = rng.choice(len(area), n, p=weight / weight.sum())
    bary = rng.dirichlet((1, 1, 1), n)
    roots = (corners[chosen] * bary[..., None]).sum(1)
    normal = _unit((normals[triangles[chosen]] * bary[..., None]).sum(1))
    return roots, normal, triangles[chosen, bary.argmax(1)]


def _combing(roots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combing direction, length (cm) and lift of each root: swept from a side parting, short at the sides."""
    x, y, z = roots.T
    top = smoothstep(y, 7.8, 11.2)
    part = x - 3.4
    away = np.tanh(part / 0.8)
    brushed_up = 0.1 + 1.3 * smoothstep(z, 6.0, 9.5)
    flow_top = np.stack([0.75 * away - 0.12, brushed_up, -0.75 - 0.15 * np.tanh(z / 4)], -1)
    flow_side = np.stack([0 * x, -1.0 + 0 * x, -0.42 - 0.25 * smoothstep(z, 4, 8)], -1)
    flow = flow_side + (flow_top - flow_side) * top[:, None]
    front = smoothstep(z, 4.5, 9.5) * top
    length = 1.1 + 0.9 * smoothstep(y, 0, 7) + 3.2 * top * (0.75 + 0.4 * front)
    lift = 0.25 + 0.75 * top * (0.55 + 0.75 * front) * (1 - 0.75 * np.exp(-((part / 0.5) ** 2)))
    return flow, length, lift


def grow_hair(
    mesh: PersonMesh, normals: np.ndarray, look: Look, rng: np.random.Generator, n: int = 6500, k: int = 6
) -> Strands:
    """Short hair with a side parting; clumped, kept out of the scalp."""
    roots, normal, anchor = _scalp_roots(mesh, normals, n, rng)
    flow, length, lift = _combing(roots)
    length = length * rng.uniform(0.65, 1.1, n) * (0.35 + 0.65 * hair_mask(roots, 1.2))
    scalp = mesh.vertices_of(FACE, BACK)
    scalp = scalp[np.linalg.norm(mesh.verts[scalp] - (0, 0.35, 0), axis=-1) > 0.55]
    tree = cKDTree(mesh.verts[scalp] / DM_PER_CM)
    clearance = rng.uniform(0.05, 0.75, n) * lift
    points = np.zeros((n, k, 3))
    points[:, 0] = roots
    wild = 0.16 * rng.standard_normal((n, 3))
    for step in range(1, k):
        s = step / (k - 1)
        nearest = scalp[tree.query(points[:, step - 1])[1]]
        out = normals[nearest]
        heading = _unit(
            _tangent(flow, out) + out * (1.15 * lift * (1 - 1.25 * s))[:, None] + wild + (0, -0.12 * s, 0)
        )
        moved = points[:, step - 1] + heading * (length / (k - 1))[:, None]
        nearest = scalp[tree.query(moved)[1]]
        height = ((moved - mesh.verts[nearest] / DM_PER_CM) * normals[nearest]).sum(-1)
        short = np.maximum(0.08 + clearance * min(1.0, 2 * s) - height, 0.0)
        points[:, step] = moved + normals[nearest] * short[:, None]
    points = _clump(points, rng)
    along = np.linspace(0, 1, k)
    half_width = np.broadcast_to(0.040 * np.sqrt(1.02 - along), (n, k)) * rng.uniform(0.7, 1.25, (n, 1))
    albedo = _strand_colors(look, n, k, rng, root_shade=0.45)
    return Strands(
        points * DM_PER_CM, half_width * DM_PER_CM, anchor, normal, albedo, np.zeros((n, 2)), np.full(n, 1.0)
    )


def _clump(
    points: np.ndarray, rng: np.random.Generator, per_clump: int = 22, pull: float = 0.55
) -> np.ndarray:
    """Draws the tips of neighbouring strands together around guide strands."""
    guides = rng.choice(len(points), max(1, len(points) // per_clump), replace=False)
    nearest = guides[cKDTree(points[guides, 0]).query(points[:, 0])[1]]
    weight = pull * np.linspace(0, 1, points.shape[1])[None, :, None] ** 1.5
    return points + weight * (points[nearest] - points)


def _strand_colors(look: Look, n: int, k: int, rng: np.random.Generator, root_shade: float) -> np.ndarray:
    color = (
        linear_from_srgb(look.hair)
        * rng.lognormal(0, 0.22, (n, 1))
        * (1 + 0.06 * rng.standard_normal((n, 3)))
    )
    along = root_shade + (1 - root_shade) * np.linspace(0, 1, k) ** 0.7
    return np.clip(color[:, None] * along[None, :, None], 0.002, 1)


def grow_brows(
    mesh: PersonMesh, normals: np.ndarray, look: Look, rng: np.random.Generator, n: int = 620, k: int = 4
) -> Strands:
    """Both brows: hairs point up near the nose and outward along the tail."""
    face = mesh.vertices_of(FACE)
    front = face[normals[face, 2] > 0.1]
    tree = cKDTree(mesh.verts[front, :2] / DM_PER_CM)
    spine, half = np.array(BROW_SPINE), np.array(BROW_HALF_WIDTH)
    t = rng.uniform(0, 1, n) ** 0.9 * (len(spine) - 1)
    across = np.clip(rng.normal(0, 0.5, n), -1, 1)
    knots = np.arange(len(spine))
    center = np.stack([np.interp(t, knots, spine[:, i]) for i in range(2)], -1)
    root_xy = center + np.stack([0 * across, across * np.interp(t, knots, half)], -1)
    angle = np.radians(np.interp(t, knots, (72, 48, 26, 8, -14, -30)) - 22 * across + rng.normal(0, 9, n))
    length = np.interp(t, knots, (0.55, 0.75, 0.8, 0.75, 0.65, 0.45)) * rng.uniform(0.7, 1.15, n)
    sign = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)[:, None]
    root_xy, heading = root_xy * [[1, 1]], np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    root_xy = np.concatenate([sign * root_xy[:, :1], root_xy[:, 1:]], -1)
    heading[:, :1] *= sign
    anchor = front[tree.query(root_xy)[1]]
    normal = normals[anchor]
    base = mesh.verts[anchor] / DM_PER_CM
    depth = base[:, 2] - ((root_xy - base[:, :2]) * normal[:, :2]).sum(-1) / normal[:, 2]
    root = np.concatenate([root_xy, depth[:, None]], -1)
    along = np.linspace(0, 1, k)[None, :, None]
    tangent = _tangent(heading, normal)
    bend = -0.22 * np.abs(sign) * (0, 1, 0)
    points = root[:, None] + length[:, None, None] * (
        along * tangent[:, None] + normal[:, None] * (0.02 + 0.16 * along * (1.2 - along))
    )
    points = points + (length[:, None] * bend)[:, None] * along**2 + normal[:, None] * 0.02
    half_width = np.broadcast_to(0.019 * np.sqrt(1.03 - along[..., 0]), (n, k)) * rng.uniform(
        0.7, 1.2, (n, 1)
    )
    albedo = _strand_colors(look, n, k, rng, root_shade=0.8) * 0.9
    return Strands(
        points * DM_PER_CM, half_width * DM_PER_CM, anchor, normal, albedo, np.zeros((n, 2)), np.full(n, 0.35)
    )


def grow_lashes(
    mesh: PersonMesh, normals: np.ndarray, look: Look, rng: np.random.Generator, k: int = 5
) -> Strands:
    """Lashes of all four lids, curved outward; those of the upper lids turn down as the lid closes."""
    parts: list[tuple[np.ndarray, ...]] = []
    for name, n, longest, rise in (("upper", 52, 0.56, 0.75), ("lower", 30, 0.27, -0.75)):
        for side, sign in (("l", 1.0), ("r", -1.0)):
            margin = mesh.lids[f"{name}_{side}"]
            line = mesh.verts[margin] / DM_PER_CM
            t = (np.arange(n) + rng.uniform(0.1, 0.9, n)) / n * 0.90 + 0.07
            where = t * (len(margin) - 1)
            root = np.stack([np.interp(where, np.arange(len(margin)), line[:, i]) for i in range(3)], -1)
            center = EYE_CENTER / DM_PER_CM * (sign, 1, 1)
            out = _unit((root - center) * (1.1, 0.25, 1.0)) + 0.10 * rng.standard_normal((n, 3))
            out[:, 0] += sign * 0.35 * (t - 0.35)
            length = (
                longest * np.sin(np.pi * np.clip(0.18 + 0.72 * t, 0, 1)) ** 0.7 * rng.uniform(0.75, 1.1, n)
            )
            s = np.linspace(0, 1, k)[None, :, None]
            curve = s * out[:, None] + rise * (s**1.7) * np.array([0, 0.75, 0]) - (0, 0.10 * rise, 0) * s
            points = root[:, None] + length[:, None, None] * curve
            blink = np.zeros((n, 2))
            blink[:, 0 if side == "l" else 1] = 1.0 if name == "upper" else 0.0
            thickness = 0.017 if name == "upper" else 0.009
            width = np.broadcast_to(thickness * np.sqrt(1.04 - s[..., 0]), (n, k))
            parts.append((points, width, margin[np.round(where).astype(int)], blink))
    points, width, anchor, blink = (np.concatenate(column) for column in zip(*parts, strict=True))
    n = len(points)
    albedo = np.broadcast_to(linear_from_srgb(look.hair) * 0.30, (n, k, 3))
    return Strands(
        points * DM_PER_CM, width * DM_PER_CM, anchor, normals[anchor], albedo, blink, np.full(n, 0.1)
    )
