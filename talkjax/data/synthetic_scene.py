"""Puts the synthetic person together: one list of triangles, one texture atlas, light at rest."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from talkjax.data.synthetic_body import Shirt, head_share, is_covered, make_shirt
from talkjax.data.synthetic_hair import Strands, grow_brows, grow_hair, grow_lashes
from talkjax.data.synthetic_light import bake_exposure, sh_light
from talkjax.data.synthetic_materials import mouth_light, vertex_paint
from talkjax.data.synthetic_mesh import (
    DM_PER_CM,
    EYE_CENTER,
    EYE_LEFT,
    EYE_RIGHT,
    FACE,
    GUMS,
    TEETH,
    PersonMesh,
    load_person,
    vertex_normals,
)
from talkjax.data.synthetic_noise import SpaceNoise, smoothstep
from talkjax.data.synthetic_paint import (
    LOOKS,
    Look,
    SkinPainter,
    hair_mask,
    paint_eye,
    paint_fabric,
    paint_face,
)
from talkjax.raster.topology import Topology

FACE_TEXELS, EYE_TEXELS, FABRIC_TEXELS = 768, 256, 512
ATLAS_HEIGHT, ATLAS_WIDTH = FACE_TEXELS, FACE_TEXELS + FABRIC_TEXELS
EYE_LEFT_TOP = (0, FACE_TEXELS + 8)
WHITE_LEFT_TOP = (0, FACE_TEXELS + 300)
FABRIC_LEFT_TOP = (FACE_TEXELS - FABRIC_TEXELS, FACE_TEXELS)

UPPER_INNER_LIP = (5526, 5533, 5532, 5531, 5534, 5513)
LOWER_INNER_LIP = (5515, 5517, 5519, 5538, 5536, 5516)
"""Vertices down the inside of each lip on the midline; the lips touch where the lowest meets the highest."""
MOUTH_CORNERS = (6126, 5621)
"""Left and right corner of the mouth."""
OUTER_EYE_CORNERS = ("lower_l", "lower_r")
"""The last vertex of these lid margins is the outer corner of the eye."""


@struct.dataclass
class Scene:
    """Arrays the renderer needs (float32, dm). Drawn vertices are: corners, shirt, strand ribbons, glints."""

    verts: Float[Array, "v 3"]
    expressions: Float[Array, "e n 3"]
    skin_faces: Int[Array, "g 3"]
    head_share: Float[Array, "v"]
    exposure: Float[Array, "v"]
    mouth_light: Float[Array, "v"]
    tongue: Float[Array, "v"]
    corner_vert: Int[Array, "c"]
    corner_uv: Float[Array, "c 2"]
    corner_tint: Float[Array, "c 3"]
    corner_shine: Float[Array, "c"]
    corner_eye: Int[Array, "c"]
    shirt_verts: Float[Array, "w 3"]
    shirt_normals: Float[Array, "w 3"]
    shirt_uv: Float[Array, "w 2"]
    shirt_exposure: Float[Array, "w"]
    strand_points: Float[Array, "s k 3"]
    strand_half_width: Float[Array, "s k"]
    strand_anchor: Int[Array, "s"]
    strand_normal: Float[Array, "s 3"]
    strand_albedo: Float[Array, "s k 3"]
    strand_blink: Float[Array, "s 2"]
    strand_shine: Float[Array, "s"]
    atlas: Float[Array, "h w 4"]
    sh_light: Float[Array, "3 9"]
    topology: Topology


@dataclasses.dataclass(frozen=True)
class Person:
    """A seed's person: geometry for the truth, scene for the pictures."""

    mesh: PersonMesh
    scene: Scene
    look: Look


def make_person(seed: int = 0) -> Person:
    """The person of a seed: identity, colours, hair. Seed 0 is the generic head with the first look."""
    rng = np.random.default_rng((seed, 11))
    identity = np.zeros(6) if seed == 0 else 0.55 * rng.standard_normal(6)
    look = LOOKS[seed % len(LOOKS)]
    mesh = load_person(identity)
    noise = SpaceNoise(rng)
    triangles = mesh.corner_vert[mesh.faces]
    normals = vertex_normals(mesh.verts, triangles)
    shirt = make_shirt(mesh, noise)
    parts = [
        grow_hair(mesh, normals, look, rng),
        grow_brows(mesh, normals, look, rng),
        grow_lashes(mesh, normals, look, rng),
    ]
    rest = (
        load_person() if seed else mesh
    )  # paint is decided on the generic head, so it stays on its features
    lids = np.concatenate([_dense(rest.verts[i]) for i in rest.lids.values()]) / DM_PER_CM
    painter = SkinPainter(look, noise, lids)
    atlas = _make_atlas(rest, painter, look, noise)
    scene = _assemble(mesh, rest, normals, shirt, parts, painter, atlas)
    return Person(mesh, scene, look)


def _dense(line: np.ndarray, n: int = 80) -> np.ndarray:
    at = np.linspace(0, len(line) - 1, n)
    return np.stack([np.interp(at, np.arange(len(line)), line[:, i]) for i in range(3)], -1)


def _make_atlas(mesh: PersonMesh, painter: SkinPainter, look: Look, noise: SpaceNoise) -> np.ndarray:
    atlas = np.ones((ATLAS_HEIGHT, ATLAS_WIDTH, 4), np.float32)
    atlas[:, :FACE_TEXELS] = paint_face(mesh, painter, FACE_TEXELS)
    top, left = EYE_LEFT_TOP
    atlas[top : top + EYE_TEXELS, left : left + EYE_TEXELS] = paint_eye(look, noise, EYE_TEXELS)
    top, left = FABRIC_LEFT_TOP
    atlas[top:, left:] = paint_fabric(look, noise, FABRIC_TEXELS, FABRIC_TEXELS)
    return atlas


def place_uv(uv: np.ndarray, left_top: tuple[int, int], texels: int) -> np.ndarray:
    """uv of one patch -> uv of the atlas (half a texel inside the patch's border)."""
    inside = 0.5 + np.clip(uv, 0, 1) * (texels - 1)
    return np.stack(
        [(left_top[1] + inside[..., 0]) / ATLAS_WIDTH, (left_top[0] + inside[..., 1]) / ATLAS_HEIGHT], -1
    )


def _exposures(
    mesh: PersonMesh, normals: np.ndarray, shirt: Shirt, shirt_normals: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light at rest that reaches mesh vertices and shirt vertices; hair blocks as a thick cap."""
    cap = 0.055 * hair_mask(mesh.verts / DM_PER_CM, 0.8) * smoothstep(mesh.verts[:, 1], 0.45, 0.9)
    blockers = mesh.verts + normals * cap[:, None]
    solid = keep & ~np.isin(mesh.face_material, (EYE_LEFT, EYE_RIGHT, GUMS, TEETH))
    triangles = mesh.corner_vert[mesh.faces[solid]]
    verts = np.concatenate([blockers, shirt.verts])
    faces = np.concatenate([triangles, shirt.faces + len(blockers)]).astype(np.int32)
    points = np.concatenate([mesh.verts, shirt.verts])
    share = bake_exposure(points, np.concatenate([normals, shirt_normals]), verts, faces)
    return share[: len(blockers)], share[len(blockers) :]


def _assemble(
    mesh: PersonMesh,
    rest: PersonMesh,
    normals: np.ndarray,
    shirt: Shirt,
    parts: list[Strands],
    painter: SkinPainter,
    atlas: np.ndarray,
) -> Scene:
    covered = is_covered(mesh.verts)
    keep = ~covered[mesh.corner_vert[mesh.faces]].all(-1)
    tint, shine, interior, tongue = vertex_paint(rest, painter)
    shirt_normals = vertex_normals(shirt.verts, shirt.faces)
    exposure, shirt_exposure = _exposures(mesh, normals, shirt, shirt_normals, keep)
    material = np.zeros(len(mesh.corner_vert), np.int32)
    material[mesh.faces.reshape(-1)] = mesh.face_material.repeat(3).reshape(-1, 3).reshape(-1)
    eye = np.where(material == EYE_LEFT, 1, np.where(material == EYE_RIGHT, 2, 0))
    on_face = (material == FACE)[:, None]
    white = place_uv(np.full((len(material), 2), 0.5), WHITE_LEFT_TOP, 16)
    corner_uv = np.where(on_face, place_uv(mesh.corner_uv, (0, 0), FACE_TEXELS), white)
    corner_tint = np.where(on_face | (eye > 0)[:, None], 1.0, tint[mesh.corner_vert])
    corner_shine = np.where(on_face[:, 0], 1.0, shine[mesh.corner_vert])
    k = max(part.points.shape[1] for part in parts)
    padded = [_resample(part, k) for part in parts]
    joined = {
        f.name: np.concatenate([getattr(p, f.name) for p in padded]) for f in dataclasses.fields(Strands)
    }
    drawn = keep & _may_be_seen(mesh.verts, mesh.corner_vert[mesh.faces])
    inside_collar = shirt.uv[shirt.faces[:, 0], 1] < 0.2  # its back is seen from within
    shown = inside_collar | _may_be_seen(shirt.verts, shirt.faces)
    front = Shirt(shirt.verts, shirt.faces[shown], shirt.uv)
    faces = np.concatenate(_drawn_faces(mesh, drawn, front, len(joined["points"]), k))
    n_drawn = len(material) + len(shirt.verts) + 2 * k * len(joined["points"]) + 2 * GLINT_SIDES
    interior_light, exposure = mouth_light(rest, interior, exposure)
    floats = {
        "verts": mesh.verts,
        "expressions": mesh.expressions,
        "head_share": head_share(mesh.verts),
        "exposure": exposure,
        "mouth_light": interior_light,
        "tongue": tongue,
        "corner_uv": corner_uv,
        "corner_tint": corner_tint,
        "corner_shine": corner_shine,
        "shirt_verts": shirt.verts,
        "shirt_normals": shirt_normals,
        "shirt_uv": place_uv(shirt.uv, FABRIC_LEFT_TOP, FABRIC_TEXELS),
        "shirt_exposure": shirt_exposure,
        "strand_points": joined["points"],
        "strand_half_width": joined["half_width"],
        "strand_normal": joined["normal"],
        "strand_albedo": joined["albedo"],
        "strand_blink": joined["blink"],
        "strand_shine": joined["shine"],
        "atlas": atlas,
        "sh_light": sh_light(),
    }
    return Scene(
        **{name: jnp.asarray(value, jnp.float32) for name, value in floats.items()},
        skin_faces=jnp.asarray(mesh.corner_vert[mesh.faces[keep]], jnp.int32),
        corner_vert=jnp.asarray(mesh.corner_vert, jnp.int32),
        corner_eye=jnp.asarray(eye, jnp.int32),
        strand_anchor=jnp.asarray(joined["anchor"], jnp.int32),
        topology=Topology.from_faces(faces.astype(np.int32), n_drawn),
    )


GLINT_SIDES = 10
GLINT_DIRECTION = np.array((-0.30, 0.26, 0.92)) / np.linalg.norm((-0.30, 0.26, 0.92))
GLINT_RADIUS = 0.0135
"""The window's reflection on each cornea: a disc (dm) where the cornea faces between window and camera."""


def glint_discs() -> np.ndarray:
    """[2 GLINT_SIDES 3] outline points of the reflections in model space, left eye first."""
    turn = np.arange(GLINT_SIDES) / GLINT_SIDES * 2 * np.pi
    side = np.cross((0.0, 1.0, 0.0), GLINT_DIRECTION)
    side /= np.linalg.norm(side)
    up = np.cross(GLINT_DIRECTION, side)
    disc = GLINT_RADIUS * (0.8 * np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * up)
    centers = [EYE_CENTER * (sign, 1, 1) + 0.1695 * GLINT_DIRECTION for sign in (1, -1)]
    return np.concatenate([center + disc for center in centers])


def _may_be_seen(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[f] bool: triangles that can face the camera while the head turns by up to about 25 degrees."""
    a, b, c = (verts[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    return normal[:, 2] > -0.45 * np.linalg.norm(normal, axis=-1)


def _resample(part: Strands, k: int) -> Strands:
    """The same strands with k points each."""
    have = part.points.shape[1]
    if have == k:
        return part
    at = np.linspace(0, have - 1, k)
    low = np.minimum(at.astype(int), have - 2)
    mix = at - low

    def along(values: np.ndarray) -> np.ndarray:
        share = mix.reshape(1, k, *[1] * (values.ndim - 2))
        return values[:, low] * (1 - share) + values[:, low + 1] * share

    return dataclasses.replace(
        part, points=along(part.points), half_width=along(part.half_width), albedo=along(part.albedo)
    )


def _drawn_faces(
    mesh: PersonMesh, keep: np.ndarray, shirt: Shirt, n_strands: int, k: int
) -> list[np.ndarray]:
    start = len(mesh.corner_vert)
    faces = [mesh.faces[keep], shirt.faces + start]
    start += len(shirt.verts)
    base = start + 2 * (np.arange(n_strands)[:, None] * k + np.arange(k - 1)[None]).reshape(-1, 1)
    faces += [base + np.array([0, 1, 2]), base + np.array([1, 3, 2])]
    start += 2 * k * n_strands
    fan = np.array([(0, i, i + 1) for i in range(1, GLINT_SIDES - 1)])
    return [*faces, fan + start, fan + start + GLINT_SIDES]
