"""ICT-FaceKit's light model (Li et al. 2020, MIT): a folder of OBJ files of one topology.

`generic_neutral_mesh.obj`, one file per expression and per identity shape (all with 26,719 vertices,
centimetres; x to image right, y up, z out of the face), `vertex_indices.json` with the expressions' names
and the 68 landmarks, `LICENSE`. Any number of `identityNNN.obj` will do; each is one standard deviation
away from the neutral.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from talkjax.assets.assembly import Loaded, build_model, landmark_origin, unusable
from talkjax.assets.catalogue import ICT
from talkjax.assets.landmark_files import N_POINTS, anchors_of_68
from talkjax.assets.model_manifest import missing
from talkjax.assets.obj_reader import Mesh, read_mesh, read_vertices
from talkjax.types import EYES, MOUTH, SKIN

_TO_DM = 0.1  # from centimetres
N_VERTS = 26_719
EXP_LIMIT = 1.2
_FRONT, _FACE_END = 6706, 9409  # the front of the face, the face
_HEAD, _MOUTH_SOCKET, _EYE_SOCKETS = (9409, 11248), (11248, 13294), (13294, 14062)

FACE, HEAD, MOUTH_SOCKET, EYE_SOCKETS, GUMS, TEETH, EYE_L, EYE_R = range(8)
"""Parts of the mesh, each with an own piece of the texture; GUMS is gums and tongue."""

_PART_OF_MATERIAL = {
    "M_Face": FACE,
    "M_BackHead": HEAD,  # with the sockets
    "M_GumsTongue": GUMS,
    "M_Teeth": TEETH,
    "M_ScleraLeft": EYE_L,
    "M_ScleraRight": EYE_R,
}
_REGION = np.array([SKIN, SKIN, MOUTH, EYES, MOUTH, MOUTH, EYES, EYES])
_FACE_SHARE = 0.8  # of the texture's height; the other parts share the strip below
_MARGIN = 0.01
_NOTES = (
    "coefficients: identity in standard deviations, expressions from 0 to 1 (soft limit 1.2), none negative",
    "origin: mean of the marked landmarks",
    "uv: the makers', one per vertex and part, so triangles on the seams of gums and teeth are stretched; "
    "eyeballs by projection from the front",
    "left out: lashes, tear fluid, eye blend and occlusion meshes, inner irises (transparent there)",
)


def load_ict(folder: Path, part: str = "face", n_id: int | None = None) -> Loaded:
    """Reads the folder (the project's, or its `FaceXModel`).

    Args:
      part: `face` is the front of the face with mouth socket, gums, tongue, teeth and eyes; `full` has ears,
        scalp and neck too.
      n_id: identity shapes that are kept; by default all that lie there.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) a file is missing, cut off or of another
        topology, or the license is not the model's.
    """
    base = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral_file, index_file = base / "generic_neutral_mesh.obj", base / "vertex_indices.json"
    if not neutral_file.is_file():
        raise missing(neutral_file)
    license_file, license_text = _license(base)
    mesh = read_mesh(neutral_file)
    if len(mesh.verts) != N_VERTS:
        raise unusable(neutral_file, f"has {len(mesh.verts)} vertices", f"{N_VERTS}")
    names, points = _index(index_file)
    identity_files = sorted(base.glob("identity[0-9]*.obj"))
    if n_id is not None and not 0 < n_id <= len(identity_files):
        raise unusable(base, f"{len(identity_files)} identity shapes, {n_id} were asked for", f"{n_id} files")
    identity_files = identity_files[:n_id]
    expression_files = [base / f"{name}.obj" for name in names]

    faces, uv_faces, parts = _kept(mesh, part)
    # a vertex between two parts becomes one in each, so that no triangle crosses from piece to piece
    pairs, inverse = np.unique(
        np.stack([np.repeat(parts, 3), faces.reshape(-1)], axis=1), axis=0, return_inverse=True
    )
    part_of, old = pairs[:, 0], pairs[:, 1]
    new_faces = inverse.reshape(-1, 3)

    def shapes(files: list[Path]) -> np.ndarray:
        moved = [(read_vertices(file, N_VERTS) - mesh.verts)[old] for file in files]
        return np.array(moved).reshape(len(files), len(old), 3) * _TO_DM

    front = np.full(N_VERTS, len(old))  # of the vertices of the face, their new number
    front[old[part_of == FACE]] = np.flatnonzero(part_of == FACE)
    anchors = anchors_of_68(front[points])
    mean = mesh.verts[old] * _TO_DM
    origin = landmark_origin(index_file, mean, anchors)
    model = build_model(
        path=base,
        name="ict",
        mean=mean - origin,
        id_basis=shapes(identity_files),
        exp_basis=shapes(expression_files),
        faces=new_faces,
        face_region=_REGION[parts],
        anchors=anchors,
        exp_names=names,
        exp_signed=False,
        exp_limit=EXP_LIMIT,
        uvs=_uvs(mesh, uv_faces.reshape(-1), inverse.reshape(-1), part_of, mean),
    )
    files = (license_file, neutral_file, index_file, *identity_files, *expression_files)
    return Loaded(model, files, (f"part: {part}", *_NOTES), license_text)


def _license(base: Path) -> tuple[Path, str]:
    """The notice that must stay with the model: in the folder, or in the one above.

    Raises:
      InputError: (`face_model_missing`, `face_model_license`) not there, or other words than the known ones.
    """
    path = next(
        (f / "LICENSE" for f in (base, base.parent) if (f / "LICENSE").is_file()), base.parent / "LICENSE"
    )
    if not path.is_file():
        raise missing(path)
    data = path.read_bytes().replace(b"\r\n", b"\n")
    known, found = dict(ICT.known_sha256)["LICENSE"], hashlib.sha256(data).hexdigest()
    if found != known:
        error = unusable(
            path,
            f"has sha256 {found}",
            f"{known}, the MIT license of ICT-FaceKit",
            "take the model with its own LICENSE file from the project ICT-FaceKit",
        )
        error.code = "face_model_license"
        raise error
    return path, data.decode("utf-8")


def _index(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the expressions, vertices of the 68 landmarks."""
    if not path.is_file():
        raise missing(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in data["expressions"])
        points = np.array(data["idx_to_landmark_verts"], np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise unusable(path, f"cannot be read ({error})", "the file of ICT-FaceKit") from error
    plain = all(name.replace("_", "").isalnum() for name in names)
    if not plain or points.shape != (N_POINTS,) or points.min() < 0 or points.max() >= _FRONT:
        raise unusable(path, "holds other names or landmarks", "the file of ICT-FaceKit")
    return names, points


def _kept(mesh: Mesh, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles of vertices and of texture coordinates, and their part."""
    parts = np.array([_PART_OF_MATERIAL.get(str(name), -1) for name in mesh.material])
    for number, (first, end) in ((MOUTH_SOCKET, _MOUTH_SOCKET), (EYE_SOCKETS, _EYE_SOCKETS)):
        parts[(parts == HEAD) & ((mesh.faces >= first) & (mesh.faces < end)).any(1)] = number
    keep = parts >= 0
    if part == "face":
        keep &= (parts != HEAD) & ((parts != FACE) | (mesh.faces < _FRONT).all(1))
    return mesh.faces[keep], mesh.uv_faces[keep], parts[keep]


def _uvs(
    mesh: Mesh, uv_corner: np.ndarray, vertex_of_corner: np.ndarray, part_of: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """One place of the texture per vertex, v down: the one that most of its corners have."""
    counted, count = np.unique(np.stack([vertex_of_corner, uv_corner], 1), axis=0, return_counts=True)
    order = np.lexsort((-count, counted[:, 0]))  # by vertex, the most frequent first
    first = np.unique(counted[order, 0], return_index=True)[1]
    place = mesh.uvs[counted[order][first, 1]] * [1.0, -1.0]
    for eye in (EYE_L, EYE_R):
        place[part_of == eye] = mean[part_of == eye, :2] * [1.0, -1.0]
    for part in range(len(_REGION)):
        rows = part_of == part
        if not rows.any():
            continue
        low, high = place[rows].min(0), place[rows].max(0)
        width = 1.0 / (len(_REGION) - 1)
        corner = np.array([0.0, 0.0] if part == FACE else [(part - 1) * width, _FACE_SHARE])
        size = np.array([1.0, _FACE_SHARE] if part == FACE else [width, 1.0 - _FACE_SHARE])
        place[rows] = corner + _MARGIN + (size - 2 * _MARGIN) * (place[rows] - low) / (high - low)
    return place
