"""The one form in which a face model is stored: a compressed npz without pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from talkjax.types import FaceModel, Skeleton, SurfacePoints

FORMAT = 1
_ARRAYS = ("mean", "id_basis", "exp_basis", "exp_signed", "faces", "face_region", "uvs")
_OPTIONAL = ("tex_mean", "tex_basis")
_LANDMARKS = ("number", "verts", "bary")
_SKELETON = ("joint_mean", "joint_basis", "skin_weights", "pose_basis")


def save_model(path: Path, model: FaceModel) -> None:
    """Writes a model; `load_model` gives it back bit for bit."""
    arrays: dict[str, Any] = {name: np.asarray(getattr(model, name)) for name in _ARRAYS}
    arrays |= {n: np.asarray(getattr(model, n)) for n in _OPTIONAL if getattr(model, n) is not None}
    arrays |= {f"landmarks.{n}": np.asarray(getattr(model.landmarks, n)) for n in _LANDMARKS}
    if model.skeleton is not None:
        arrays |= {f"skeleton.{n}": np.asarray(getattr(model.skeleton, n)) for n in _SKELETON}
        arrays["skeleton.parents"] = np.array(model.skeleton.parents, np.int32)
        arrays["skeleton.moving"] = np.array(model.skeleton.moving, np.int32)
    np.savez_compressed(
        path,
        format=np.int32(FORMAT),
        name=np.array(model.name),
        exp_names=np.array(model.exp_names),
        exp_limit=np.float64(model.exp_limit),
        **arrays,
    )


def load_model(path: Path) -> FaceModel:
    """Reads what `save_model` wrote."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: jnp.asarray(data[name]) for name in (*_ARRAYS, *_OPTIONAL) if name in data}
        skeleton = None
        if "skeleton.parents" in data:
            skeleton = Skeleton(
                **{name: jnp.asarray(data[f"skeleton.{name}"]) for name in _SKELETON},
                parents=tuple(int(p) for p in data["skeleton.parents"]),
                moving=tuple(int(p) for p in data["skeleton.moving"]),
            )
        return FaceModel(
            **arrays,
            landmarks=SurfacePoints(**{n: jnp.asarray(data[f"landmarks.{n}"]) for n in _LANDMARKS}),
            skeleton=skeleton,
            exp_names=tuple(str(n) for n in data["exp_names"]),
            exp_limit=float(data["exp_limit"]),
            name=str(data["name"]),
        )
