"""The one form in which a face model is stored: a compressed npz without pickles, with a manifest.

`save_model` and `load_model` are inverse bit for bit; loading checks every array against the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from talkjax.assets.model_manifest import Manifest, damaged, read_arrays, write_arrays
from talkjax.types import EYES, SKIN, FaceModel, Skeleton, SurfacePoints

_ARRAYS = ("mean", "id_basis", "exp_basis", "exp_signed", "faces", "face_region", "uvs")
_OPTIONAL = ("tex_mean", "tex_basis")
_LANDMARKS = ("number", "verts", "bary")
_SKELETON = ("joint_mean", "joint_basis", "skin_weights", "pose_basis")
N_TRACKED = 468
_SHAPES = {
    "mean": "v 3",
    "id_basis": "k v 3",
    "exp_basis": "e v 3",
    "exp_signed": "e",
    "faces": "f 3",
    "face_region": "f",
    "uvs": "v 2",
    "tex_mean": "v 3",
    "tex_basis": "x v 3",
    "landmarks.number": "n",
    "landmarks.verts": "n 3",
    "landmarks.bary": "n 3",
    "skeleton.joint_mean": "j 3",
    "skeleton.joint_basis": "ke j 3",
    "skeleton.skin_weights": "v j",
    "skeleton.pose_basis": "p v 3",
    "skeleton.parents": "j",
    "skeleton.moving": "m",
    "name": "",
    "exp_names": "names",
    "exp_limit": "",
}


def save_model(path: str | os.PathLike[str], model: FaceModel, manifest: Manifest | None = None) -> str:
    """Writes a model; `load_model` gives it back bit for bit.

    Args:
      manifest: where it comes from; by default a person's own face.

    Returns:
      The content's sha256.

    Raises:
      InputError: (`face_model_damaged`) its arrays do not fit together.
    """
    arrays = model_arrays(model)
    check_arrays(Path(path), arrays)
    return write_arrays(path, arrays, manifest or Manifest())


def load_model(path: str | os.PathLike[str]) -> FaceModel:
    """Reads what `save_model` wrote.

    Raises:
      InputError: (`face_model_missing`, `face_model_damaged`) no such file, not a whole npz of this form, or
        arrays that do not fit together.
    """
    data, _ = read_arrays(path)
    check_arrays(Path(path), data)
    skeleton = None
    if "skeleton.parents" in data:
        skeleton = Skeleton(
            **{name: jnp.asarray(data[f"skeleton.{name}"]) for name in _SKELETON},
            parents=tuple(int(p) for p in data["skeleton.parents"]),
            moving=tuple(int(p) for p in data["skeleton.moving"]),
        )
    return FaceModel(
        **{name: jnp.asarray(data[name]) for name in (*_ARRAYS, *_OPTIONAL) if name in data},
        landmarks=SurfacePoints(**{n: jnp.asarray(data[f"landmarks.{n}"]) for n in _LANDMARKS}),
        skeleton=skeleton,
        exp_names=tuple(str(n) for n in data["exp_names"]),
        exp_limit=float(data["exp_limit"]),
        name=str(data["name"]),
    )


def model_arrays(model: FaceModel) -> dict[str, np.ndarray]:
    """The model as named numpy arrays, the entries of its npz."""
    arrays = {name: np.asarray(getattr(model, name)) for name in _ARRAYS}
    arrays |= {n: np.asarray(getattr(model, n)) for n in _OPTIONAL if getattr(model, n) is not None}
    arrays |= {f"landmarks.{n}": np.asarray(getattr(model.landmarks, n)) for n in _LANDMARKS}
    if model.skeleton is not None:
        arrays |= {f"skeleton.{n}": np.asarray(getattr(model.skeleton, n)) for n in _SKELETON}
        arrays["skeleton.parents"] = np.array(model.skeleton.parents, np.int32)
        arrays["skeleton.moving"] = np.array(model.skeleton.moving, np.int32)
    arrays["name"], arrays["exp_names"] = np.array(model.name), np.array(model.exp_names, dtype=np.str_)
    arrays["exp_limit"] = np.array(model.exp_limit, np.float64)
    return arrays


def check_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Shapes against each other, finite numbers, indices in range.

    Raises:
      InputError: (`face_model_damaged`) with the array and what is wrong with it.
    """
    lacking = [name for name in _SHAPES if name not in arrays and not _optional(name)]
    if lacking:
        raise damaged(path, f"lacks {', '.join(lacking)}")
    unknown = sorted(set(arrays) - set(_SHAPES))
    if unknown:
        raise damaged(path, f"has an unknown array {unknown[0]!r}")
    sizes = _check_shapes(path, arrays)
    for name, array in arrays.items():
        if array.dtype.kind not in ("U" if name in ("name", "exp_names") else "fbiu"):
            raise damaged(path, f"has {name} of type {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise damaged(path, f"has numbers in {name} that are not finite")
    _in_range(path, arrays, "faces", 0, sizes["v"])
    _in_range(path, arrays, "landmarks.verts", 0, sizes["v"])
    _in_range(path, arrays, "landmarks.number", 0, N_TRACKED)
    _in_range(path, arrays, "face_region", SKIN, EYES + 1)
    if float(arrays["exp_limit"]) <= 0:
        raise damaged(path, f"has exp_limit {float(arrays['exp_limit'])}")
    _check_skeleton(path, arrays, sizes)


def _optional(name: str) -> bool:
    return name in _OPTIONAL or name.startswith("skeleton.")


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, spec in _SHAPES.items():
        if name not in arrays:
            continue
        axes, shape = spec.split(), arrays[name].shape
        fits = len(axes) == len(shape) and all(
            size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
            for axis, size in zip(axes, shape, strict=True)
        )
        if not fits:
            wanted = [axis if axis.isdigit() else f"{axis}={sizes.get(axis, '?')}" for axis in axes]
            raise damaged(path, f"has {name} of shape {list(shape)} where [{', '.join(wanted)}] is wanted")
    return sizes


def _in_range(path: Path, arrays: Mapping[str, np.ndarray], name: str, low: int, end: int) -> None:
    values = arrays[name]
    if values.dtype.kind not in "iu":
        raise damaged(path, f"has {name} of type {values.dtype}")
    if values.size and not (values.min() >= low and values.max() < end):
        raise damaged(path, f"has {name} outside {low}..{end - 1}: {values.min()}..{values.max()}")


def _check_skeleton(path: Path, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
    present = [name for name in _SHAPES if name.startswith("skeleton.") and name in arrays]
    n_angles = 0
    if present:
        lacking = [n for n in _SHAPES if n.startswith("skeleton.") and n not in arrays]
        if lacking:
            raise damaged(path, f"lacks {', '.join(lacking)}")
        n_angles = 3 * sizes["m"]
        _in_range(path, arrays, "skeleton.moving", 0, sizes["j"])
        parents = arrays["skeleton.parents"]
        if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
            raise damaged(path, "has joints whose parents do not come first")
        if sizes["ke"] != sizes["k"] + sizes["e"] or sizes["p"] != 9 * (sizes["j"] - 1):
            raise damaged(path, "has a skeleton that does not fit its bases")
    if sizes["names"] != sizes["e"] + n_angles:
        raise damaged(path, f"has {sizes['names']} exp_names for {sizes['e'] + n_angles} axes")
