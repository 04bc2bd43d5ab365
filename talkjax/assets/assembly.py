"""From the arrays of any published model to a `FaceModel`: what all loaders share. Pure numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from talkjax.assets.correspondence import dense_landmarks
from talkjax.errors import InputError
from talkjax.types import SKIN, FaceModel, Skeleton, SurfacePoints

_AXIS_BEHIND = 0.8  # the unwrapping cylinder stands this far behind the nose tip, dm
_BACK = np.deg2rad(125.0)  # ears lie before it
_MARGIN = 4.5 / 256  # free border of the texture
_LEAST_ANCHORS = 12
STATISTICAL_LIMIT = 3.0
"""Standard deviations that an expression axis of a statistical model may take."""

PARTS = ("face", "full")
"""What is kept of a model that has more than a face: what a camera before the person sees, or all."""


class Anchors(NamedTuple):
    """Landmarks that the makers of a model have marked (numpy): number (0-467), triangle, barycentrics."""

    number: np.ndarray  # [n]
    verts: np.ndarray  # [n 3]
    bary: np.ndarray  # [n 3]

    @classmethod
    def at_vertices(cls, vertex_of: Mapping[int, int]) -> Anchors:
        """From landmark number -> vertex."""
        verts = np.repeat(np.array(list(vertex_of.values()), np.int64)[:, None], 3, axis=1)
        corner = np.tile([1.0, 0.0, 0.0], (len(verts), 1))
        return cls(np.array(list(vertex_of), np.int64), verts, corner)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What a loader returns.

    Attributes:
      model: the face.
      files: the files that were read, for the manifest.
      notes: choices and approximations, a line each.
      license_text: the notice that must stay with the model, where its source holds one.
    """

    model: FaceModel
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    license_text: str = ""


def unusable(path: Path, problem: str, expected: str, fix: str = "") -> InputError:
    """The error of a source file that is not what its name says."""
    return InputError(
        f"{path}: {problem}",
        expected=expected,
        fix=fix or "get the file anew from its makers; talkjax assets list names them",
        code="face_model_source",
    )


def components(path: Path, name: str, basis: np.ndarray, wanted: int) -> np.ndarray:
    """The first `wanted` rows of a basis [n ...].

    Raises:
      InputError: (`face_model_source`) it has fewer.
    """
    if not 0 < wanted <= len(basis):
        raise unusable(
            path, f"{name} has {len(basis)} components, {wanted} were asked for", f"1 to {len(basis)}"
        )
    return basis[:wanted]


def landmark_origin(path: Path, verts: np.ndarray, anchors: Anchors) -> np.ndarray:
    """The mean [3] of the marked landmarks, the origin of models whose makers name none.

    Raises:
      InputError: (`face_model_source`) a landmark is on a vertex that is not there.
    """
    if anchors.verts.size and not (anchors.verts.min() >= 0 and anchors.verts.max() < len(verts)):
        raise unusable(
            path, f"a landmark is on vertex {anchors.verts.max()}", f"vertices 0 to {len(verts) - 1}"
        )
    return np.einsum("nk,nkc->nc", anchors.bary, verts[anchors.verts]).mean(0)


def outward(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The triangles [f 3], all turned over if the mesh as a whole faces inward.

    Seen from a point behind the face (the middle of x and y, the least z), the triangles of a face or a
    head enclose a positive volume when they are counter-clockwise from outside.
    """
    behind = np.array([*(verts[:, :2].min(0) + verts[:, :2].max(0)) / 2, verts[:, 2].min()])
    a, b, c = (verts[faces[:, k]] - behind for k in range(3))
    return faces if (a * np.cross(b, c)).sum() >= 0 else faces[:, ::-1]


def _azimuth(verts: np.ndarray) -> np.ndarray:
    """Angle [v] about the upright axis of the unwrapping cylinder, 0 at the nose, radians."""
    return np.arctan2(verts[:, 0], verts[:, 2] - (verts[:, 2].max() - _AXIS_BEHIND))


def without_back(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The triangles [f 3] that do not reach behind the ears; there the unwrap of a head has its seam."""
    return faces[(np.abs(_azimuth(verts)) <= _BACK)[faces].all(1)]


def cylinder_uvs(verts: np.ndarray) -> np.ndarray:
    """Cylindrical texture coordinates [v 2] in [0, 1], u to image right, v down, for a mesh without any.

    Parts that lie behind others (inside of the mouth and nose) share their texels; at the back of a whole
    head, triangles span the texture.
    """
    flat = np.stack([_azimuth(verts), -verts[:, 1]], axis=1)
    low, high = flat.min(0), flat.max(0)
    return _MARGIN + (1 - 2 * _MARGIN) * (flat - low) / np.maximum(high - low, 1e-9)


def build_model(
    *,
    path: Path,
    name: str,
    mean: np.ndarray,
    id_basis: np.ndarray,
    exp_basis: np.ndarray,
    faces: np.ndarray,
    anchors: Anchors,
    exp_names: tuple[str, ...] = (),
    exp_signed: bool = True,
    exp_limit: float = STATISTICAL_LIMIT,
    face_region: np.ndarray | None = None,
    uvs: np.ndarray | None = None,
    tex_mean: np.ndarray | None = None,
    tex_basis: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
) -> FaceModel:
    """Puts the parts together, in float32.

    Args:
      path: of the source, for errors.
      mean: [v 3] dm in the model frame. id_basis: [k v 3]. exp_basis: [e v 3].
      faces: [f 3] outward counter-clockwise. face_region: [f], by default all skin.
      anchors: the marked landmarks, about 50; the others are found from them.
      uvs: [v 2], by default a cylindrical unwrap.

    Raises:
      InputError: (`face_model_source`) indices out of range, numbers that are not finite, too few anchors.
    """
    n_verts = len(mean)
    arrays = {"mean": mean, "identity": id_basis, "expression": exp_basis, "texture": tex_basis}
    for part, values in arrays.items():
        if values is not None and not np.isfinite(values).all():
            raise unusable(path, f"the {part} has numbers that are not finite", "finite numbers")
    indices = np.concatenate([faces.reshape(-1), anchors.verts.reshape(-1)])
    if indices.size and not (indices.min() >= 0 and indices.max() < n_verts):
        raise unusable(
            path, f"vertex {indices.max()} is named but there are {n_verts}", f"vertices 0 to {n_verts - 1}"
        )
    if len(anchors.number) < _LEAST_ANCHORS:
        raise unusable(path, f"only {len(anchors.number)} landmarks are known", f"at least {_LEAST_ANCHORS}")
    region = np.full(len(faces), SKIN) if face_region is None else face_region

    def floats(values: np.ndarray) -> jnp.ndarray:
        return jnp.asarray(np.asarray(values, np.float32))

    return FaceModel(
        mean=floats(mean),
        id_basis=floats(id_basis),
        exp_basis=floats(exp_basis),
        exp_signed=jnp.full(len(exp_basis), exp_signed),
        faces=jnp.asarray(faces, jnp.int32),
        face_region=jnp.asarray(region, jnp.int32),
        uvs=floats(cylinder_uvs(mean) if uvs is None else uvs),
        landmarks=_landmarks(mean, faces[region == SKIN], anchors),
        tex_mean=None if tex_mean is None else floats(tex_mean),
        tex_basis=None if tex_basis is None else floats(tex_basis),
        skeleton=skeleton,
        exp_names=exp_names or tuple(f"exp{k:02d}" for k in range(len(exp_basis))),
        exp_limit=exp_limit,
        name=name,
    )


def _landmarks(mean: np.ndarray, skin: np.ndarray, anchors: Anchors) -> SurfacePoints:
    """All tracked landmarks; the marked ones exactly where they are marked."""
    places = np.einsum("nk,nkc->nc", anchors.bary, mean[anchors.verts])
    extra = {int(n): len(mean) + k for k, n in enumerate(anchors.number)}
    dense = dense_landmarks(np.concatenate([mean, places]), skin, extra)
    row_of = {int(n): k for k, n in enumerate(np.asarray(dense.number))}
    rows = np.array([row_of[int(n)] for n in anchors.number])
    verts, bary = np.array(dense.verts), np.array(dense.bary)
    verts[rows], bary[rows] = anchors.verts, anchors.bary
    return dataclasses.replace(dense, verts=jnp.asarray(verts), bary=jnp.asarray(bary))
