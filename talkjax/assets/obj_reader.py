"""Wavefront OBJ as model makers write it: quick reading of vertices, and of polygons by material."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from talkjax.assets.assembly import unusable
from talkjax.assets.model_manifest import missing


class Mesh(NamedTuple):
    """verts [v 3], coordinates uvs [t 2] (v up), triangles [f 3] of verts and of uvs, material [f]."""

    verts: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray
    material: np.ndarray


def read_vertices(path: Path, count: int | None = None) -> np.ndarray:
    """The vertices [v 3] alone.

    Args:
      count: how many there must be.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) no such file, cut off, or another count.
    """
    return _vertices(path, _read(path), count)


def read_mesh(path: Path) -> Mesh:
    """The whole mesh; polygons become fans of triangles from their first corner.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) no such file, cut off, or without texture
        coordinates.
    """
    data = _read(path)
    verts = _vertices(path, data, None)
    uvs: list[list[float]] = []
    corners: list[tuple[int, int]] = []
    sizes: list[int] = []
    materials: list[str] = []
    material = ""
    try:
        for line in data[data.find(b"\nvt ") + 1 :].decode("ascii").splitlines():
            if line.startswith("f "):
                words = line.split()[1:]
                corners.extend((int(v), int(t)) for v, t, *_ in (word.split("/") for word in words))
                sizes.append(len(words))
                materials.append(material)
            elif line.startswith("vt "):
                uvs.append([float(word) for word in line.split()[1:3]])
            elif line.startswith("usemtl "):
                material = line.split()[1]
        places = np.array(uvs, np.float64).reshape(-1, 2)
        pairs = np.array(corners, np.int64).reshape(-1, 2) - 1
    except (ValueError, IndexError) as error:
        raise unusable(
            path, f"not a whole OBJ file ({error})", "vertices, texture coordinates, polygons"
        ) from error
    if not len(pairs) or min(sizes) < 3 or pairs.min() < 0:
        raise unusable(path, "has no polygons with texture coordinates", "lines `f v/t v/t v/t`")
    if pairs[:, 0].max() >= len(verts) or pairs[:, 1].max() >= len(places):
        raise unusable(path, "a polygon names a corner that is not there", "a whole OBJ file")
    first, size = np.cumsum([0, *sizes[:-1]]), np.array(sizes)
    fans = [
        np.stack([first[size > k + 1], first[size > k + 1] + k, first[size > k + 1] + k + 1], axis=1)
        for k in range(1, int(size.max()) - 1)
    ]
    owner = np.concatenate([np.flatnonzero(size > k + 1) for k in range(1, int(size.max()) - 1)])
    order = np.argsort(owner, kind="stable")
    triangles = np.concatenate(fans)[order]
    return Mesh(verts, places, pairs[triangles, 0], pairs[triangles, 1], np.array(materials)[owner[order]])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise missing(path, error) from error


def _vertices(path: Path, data: bytes, count: int | None) -> np.ndarray:
    """The block of `v` lines; it ends where another kind of line begins."""
    wanted = f"{count} vertices" if count else "lines `v x y z`, then `vt`, then `f`"
    start = 0 if data.startswith(b"v ") else data.find(b"\nv ") + 1
    end = data.find(b"\nvt ", start)
    if end < 0 or not data.startswith(b"v ", start):
        raise unusable(path, "not a whole OBJ file", wanted)
    text = data[start + 1 : end].replace(b"\nv", b"\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's word for text that is no number
            values = np.fromstring(text, np.float64, sep=" ")
    except (DeprecationWarning, ValueError) as error:
        raise unusable(path, "a vertex is not three numbers", wanted) from error
    if len(values) % 3 or not np.isfinite(values).all() or (count is not None and len(values) != 3 * count):
        raise unusable(path, f"has {len(values) / 3:g} vertices", wanted)
    return values.reshape(-1, 3)
