"""The synthetic person's geometry: the embedded face model, read and sorted into parts.

Model space is that of ICT-FaceKit scaled to decimetres (1 unit = 10 cm): x to the person's left, y up,
z out of the face, origin between the ears. Source and licence: embedded/README.md.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

EMBEDDED = pathlib.Path(__file__).resolve().parent / "embedded"
DM_PER_CM = 0.1

FACE, BACK, GUMS, TEETH, EYE_LEFT, EYE_RIGHT = range(6)
"""Materials of the packed mesh; BACK is scalp, neck, shoulders, mouth cavity and eye sockets."""

EYE_CENTER = np.array([0.3116, 0.3602, 0.7982])
"""Centre of the left eyeball, dm (the right one is mirrored)."""
EYE_RADIUS = 0.150


@dataclasses.dataclass(frozen=True)
class PersonMesh:
    """Geometry vertices carry positions and shapes; corners are (vertex, texture coordinate) pairs to draw.

    Attributes:
      verts: [v 3] neutral, dm.
      expressions: [e n 3] displacements of the first n vertices, dm.
      expression_names: e names of ICT-FaceKit, `_L` is the person's left.
      faces: [f 3] corner indices, counter-clockwise from outside.
      face_material: [f] FACE .. EYE_RIGHT.
      corner_vert: [c] vertex of each corner.
      corner_uv: [c 2] in [0, 1], v down.
      lids: margins of the lids as vertex indices from the inner to the outer corner; upper_l, upper_r ...
    """

    verts: np.ndarray
    expressions: np.ndarray
    expression_names: tuple[str, ...]
    faces: np.ndarray
    face_material: np.ndarray
    corner_vert: np.ndarray
    corner_uv: np.ndarray
    lids: dict[str, np.ndarray]

    def vertices_of(self, *materials: int) -> np.ndarray:
        """Sorted geometry vertices used by faces of these materials."""
        return np.unique(self.corner_vert[self.faces[np.isin(self.face_material, materials)]])

    def expression_vector(self, weights: dict[str, float]) -> np.ndarray:
        """Named weights -> [e]; a name without side sets both sides."""
        vector = np.zeros(len(self.expression_names))
        for name, weight in weights.items():
            for side in ("", "_L", "_R"):
                if name + side in self.expression_names:
                    vector[self.expression_names.index(name + side)] += weight
        return vector


def _from_byte_planes(planes: np.ndarray) -> np.ndarray:
    zigzag = planes[0].astype(np.int32) | (planes[1].astype(np.int32) << 8)
    return (zigzag >> 1) ^ -(zigzag & 1)


@functools.cache
def _packed() -> dict[str, np.ndarray]:
    with np.load(EMBEDDED / "person.npz") as file:
        return {name: file[name] for name in file.files}


def load_person(identity: np.ndarray | None = None) -> PersonMesh:
    """The embedded person; `identity` [<= 6] adds that many of the model's identity shapes (std about 1)."""
    packed = _packed()
    step, expression_step, identity_step = packed["steps_cm"] * DM_PER_CM
    verts = packed["verts"] * step
    if identity is not None:
        shapes = _from_byte_planes(packed["identities"])[: len(identity)] * identity_step
        verts[: shapes.shape[1]] += np.tensordot(identity, shapes, 1)
    quads = packed["quads"].astype(np.int32)
    first, second = quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]
    is_quad = quads[:, 3] != quads[:, 0]
    uv = packed["corner_uv"] / 65535.0
    return PersonMesh(
        verts=verts,
        expressions=(_from_byte_planes(packed["expressions"]) * expression_step).astype(np.float32),
        expression_names=tuple(str(name) for name in packed["expression_names"]),
        faces=np.concatenate([first, second[is_quad]]),
        face_material=np.concatenate([packed["quad_material"], packed["quad_material"][is_quad]]),
        corner_vert=packed["corner_vert"].astype(np.int32),
        corner_uv=np.stack([uv[:, 0], 1.0 - uv[:, 1]], -1),
        lids={key[4:]: packed[key].astype(np.int32) for key in packed if key.startswith("lid_")},
    )


def vertex_normals(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals [v 3] in numpy: for set-up, where compiling would cost more."""
    cross = np.cross(verts[faces[:, 1]] - verts[faces[:, 0]], verts[faces[:, 2]] - verts[faces[:, 0]])
    normals = np.zeros_like(verts)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
