"""FLAME 2020 and 2023 (Li et al. 2017): a pickle with template, shapes, joints and skinning weights.

Keys: `v_template` [v 3] (metres; x to image right, y up, z out of the face), `f` [f 3], `shapedirs` [v 3
400] (300 of identity, then 100 of expression, each one standard deviation), `posedirs` [v 3 36],
`J_regressor` [5 v], `weights` [v 5], `kintree_table` [2 5]. Joints: root, neck, jaw, left eye, right eye.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from talkjax.assets.assembly import (
    Anchors,
    Loaded,
    build_model,
    components,
    landmark_origin,
    outward,
    unusable,
    without_back,
)
from talkjax.assets.landmark_files import anchors_of_68, anchors_of_triangles, read_68
from talkjax.assets.pickled import read_pickle
from talkjax.types import EYES, SKIN, Skeleton

_TO_DM = 10.0  # from metres
N_ID, N_EXP = 300, 100
JOINTS = ("root", "neck", "jaw", "eyeL", "eyeR")
MOVING = (2, 3, 4)
EYE_JOINTS = [3, 4]
_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_EMBEDDINGS = (
    *("flame_static_embedding.pkl", "landmark_embedding.npy", "flame_static_embedding_68.pkl"),
    "landmark_embedding_with_eyes.npy",
)
_EMBEDDING_KEYS = (
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("static_lmk_faces_idx", "static_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
)
_NOTES = (
    "coefficients in standard deviations; jaw and eyes turn (axis-angle, radians), the neck rests: the head "
    "pose stands for it",
    "origin: mean of the marked landmarks; uv: own cylindrical unwrap; no texture",
    "landmarks beyond the marked ones from the template",
)


def load_flame(
    path: Path,
    landmarks: Path | None = None,
    n_id: int = N_ID,
    n_exp: int = N_EXP,
    moving: tuple[int, ...] = MOVING,
    part: str = "face",
) -> Loaded:
    """Reads the pickle, in a child process that executes nothing of it.

    Args:
      landmarks: the makers' landmark embedding (pkl or npy), or vertices of the 68 points
        (`landmark_files.read_68`); by default an embedding of a usual name in the pickle's folder.
      n_id, n_exp: axes that are kept.
      moving: joints that follow expression coefficients, of `JOINTS`.
      part: `face` leaves out the triangles at the back of the head, `full` keeps them.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) not there, not such a pickle, one that names
        anything but arrays, arrays that do not fit together, or no landmarks.
    """
    raw = read_pickle(path, _KEYS)
    template, faces, dirs = raw["v_template"].astype(np.float64), raw["f"].astype(np.int64), raw["shapedirs"]
    _check(path, raw)
    id_basis = components(path, "shapedirs (identity)", np.moveaxis(dirs[..., :N_ID], 2, 0), n_id)
    exp_basis = components(path, "shapedirs (expression)", np.moveaxis(dirs[..., N_ID:], 2, 0), n_exp)
    embedding = landmarks or _embedding_beside(path)
    anchors = _anchors(embedding, faces)
    template, id_basis, exp_basis = template * _TO_DM, id_basis * _TO_DM, exp_basis * _TO_DM
    origin = landmark_origin(embedding, template, anchors)
    faces = outward(template, faces)
    faces = faces if part == "full" else without_back(template, faces)
    model = build_model(
        path=path,
        name="flame",
        mean=template - origin,
        id_basis=id_basis,
        exp_basis=exp_basis,
        faces=faces,
        face_region=np.where((raw["weights"][:, EYE_JOINTS].sum(1) > 0.5)[faces].all(1), EYES, SKIN),
        anchors=anchors,
        skeleton=_skeleton(raw, template, origin, np.concatenate([id_basis, exp_basis]), moving),
        exp_names=(
            *(f"exp{k:02d}" for k in range(n_exp)),
            *(f"{JOINTS[j]}_{axis}" for j in moving for axis in "xyz"),
        ),
    )
    return Loaded(model, (path, embedding), _NOTES)


def _check(path: Path, raw: dict[str, np.ndarray]) -> None:
    """Every array against the template.

    Raises:
      InputError: (`face_model_source`) with the first that does not fit.
    """
    v, j = len(raw["v_template"]), len(JOINTS)
    shapes = {
        "v_template": (v, 3),
        "f": (len(raw["f"]), 3),
        "shapedirs": (v, 3, raw["shapedirs"].shape[-1]),
        "posedirs": (v, 3, 9 * (j - 1)),
        "J_regressor": (j, v),
        "weights": (v, j),
        "kintree_table": (2, j),
    }
    for name, shape in shapes.items():
        if raw[name].shape != shape:
            raise unusable(path, f"{name} has shape {list(raw[name].shape)}", str(list(shape)))
        if raw[name].dtype.kind == "f" and not np.isfinite(raw[name]).all():
            raise unusable(path, f"{name} has numbers that are not finite", "finite numbers")
    if raw["shapedirs"].shape[-1] <= N_ID:
        raise unusable(
            path,
            f"shapedirs has {raw['shapedirs'].shape[-1]} axes",
            f"{N_ID} of identity, then those of expression",
        )
    if not (raw["f"].min(initial=0) >= 0 and raw["f"].max(initial=0) < v):
        raise unusable(path, f"f names vertices up to {raw['f'].max()}", f"0 to {v - 1}")
    parents = raw["kintree_table"][0].astype(np.int64)
    if not all(0 <= parent < k for k, parent in enumerate(parents.tolist()) if k):
        raise unusable(path, f"kintree_table has parents {parents.tolist()}", "parents before their children")


def _skeleton(
    raw: dict[str, np.ndarray],
    template: np.ndarray,
    origin: np.ndarray,
    linear: np.ndarray,
    moving: tuple[int, ...],
) -> Skeleton:
    """Joints linear in all axes: the regressor applied to the template and to each axis, dm."""
    regressor = raw["J_regressor"].astype(np.float64)
    parents = raw["kintree_table"][0].astype(np.int64).tolist()
    return Skeleton(
        joint_mean=jnp.asarray(regressor @ template - origin, jnp.float32),
        joint_basis=jnp.asarray(np.einsum("jv,kvc->kjc", regressor, linear, optimize=True), jnp.float32),
        skin_weights=jnp.asarray(raw["weights"], jnp.float32),
        pose_basis=jnp.asarray(np.moveaxis(raw["posedirs"], 2, 0) * _TO_DM, jnp.float32),
        parents=(-1, *parents[1:]),
        moving=moving,
    )


def _embedding_beside(path: Path) -> Path:
    for name in _EMBEDDINGS:
        if (path.parent / name).is_file():
            return path.parent / name
    raise unusable(
        path,
        "there are no landmarks beside it",
        f"{_EMBEDDINGS[0]} or {_EMBEDDINGS[1]} in the same folder",
        "put the makers' landmark file there, or name one: --landmarks=FILE",
    )


def _anchors(path: Path, faces: np.ndarray) -> Anchors:
    if path.suffix not in (".pkl", ".npy"):
        return anchors_of_68(read_68(path))
    if path.suffix == ".npy" and _is_plain_npy(path):
        return anchors_of_68(read_68(path))
    names = tuple(key for pair in _EMBEDDING_KEYS for key in pair)
    data = read_pickle(path, names, needed=())
    for index_key, bary_key in _EMBEDDING_KEYS:
        if index_key in data and bary_key in data:
            index, bary = data[index_key].reshape(-1), data[bary_key].reshape(-1, 3).astype(np.float64)
            if len(index) not in (51, 68) or len(bary) != len(index):
                raise unusable(path, f"{len(index)} triangles, {len(bary)} barycentrics", "51 or 68 of both")
            if not (index.min() >= 0 and index.max() < len(faces)):
                raise unusable(path, f"names triangle {index.max()}", f"0 to {len(faces) - 1}")
            return anchors_of_triangles(faces[index.astype(np.int64)], bary)
    raise unusable(path, "holds no landmark embedding", " or ".join(" and ".join(p) for p in _EMBEDDING_KEYS))


def _is_plain_npy(path: Path) -> bool:
    try:
        np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return True
