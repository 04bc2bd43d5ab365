"""Small face models in the exact layout in which their makers give them out, with the numbers that went in.

The mesh is the 468-point template, scattered over a larger number of vertices where the layout has more.
Written from the public descriptions of the layouts; no file of theirs was at hand.
"""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import struct
import sys
import types
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.io
import scipy.sparse

from talkjax.assets.correspondence import landmark_template
from talkjax.assets.landmark_files import TRACKED_OF_68
from talkjax.face.mesh468 import FACES

FACE = landmark_template()  # [468 3] dm
N = len(FACE)


def unit_normals(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[v 3], from counter-clockwise triangles one after the other's corners."""
    sums = np.zeros(verts.shape)
    cross = np.cross(verts[faces[:, 1]] - verts[faces[:, 0]], verts[faces[:, 2]] - verts[faces[:, 0]])
    for corner in range(3):
        np.add.at(sums, faces[:, corner], cross)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


class Bfm09(NamedTuple):
    """What went into a folder of BFM 2009; arrays as in its files, before any subset or scale."""

    arrays: dict[str, np.ndarray]
    exp_basis: np.ndarray  # [79, 3 m]
    exp_std: np.ndarray
    trim: np.ndarray  # 0-based
    front: np.ndarray


def write_bfm09(folder: pathlib.Path, seed: int = 0) -> Bfm09:
    """The six files: 600 vertices, of which the expressions know 520, of which 468 make the face."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    n_full, n_exp_verts = 600, 520
    trim = np.sort(rng.permutation(n_full)[:n_exp_verts])
    front = rng.permutation(n_exp_verts)[:N]
    mean = rng.normal(0, 4e4, (n_full, 3))
    mean[trim[front]] = FACE * 1e5 + [3e3, -2e3, 5e3]
    arrays = {
        "shapeMU": mean.reshape(-1, 1),
        "shapePC": rng.normal(0, 0.03, (3 * n_full, 199)),
        "shapeEV": np.sort(rng.uniform(1e3, 9e4, (199, 1)), axis=0)[::-1],
        "texMU": rng.uniform(20, 230, (3 * n_full, 1)),
        "texPC": rng.normal(0, 0.03, (3 * n_full, 199)),
        "texEV": np.sort(rng.uniform(50, 900, (199, 1)), axis=0)[::-1],
    }
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    scipy.io.savemat(folder / "01_MorphableModel.mat", {**arrays, "tl": np.ones((9, 3), np.int32)})
    exp_basis = rng.normal(0, 0.01, (79, 3 * n_exp_verts)).astype(np.float32)
    exp_mean = rng.normal(0, 100, 3 * n_exp_verts).astype(np.float32)
    header = struct.pack("<i", 79)
    (folder / "Exp_Pca.bin").write_bytes(header + exp_mean.tobytes() + exp_basis.tobytes())
    exp_std = np.sort(rng.uniform(1e3, 4e5, 79))[::-1]
    (folder / "std_exp.txt").write_text(" ".join(f"{value:.8e}" for value in exp_std) + "\n")
    scipy.io.savemat(folder / "BFM_exp_idx.mat", {"trimIndex": (trim + 1).reshape(-1, 1).astype(np.float64)})
    scipy.io.savemat(folder / "BFM_front_idx.mat", {"idx": (front + 1).reshape(-1, 1).astype(np.float64)})
    info = {
        "tri": (FACES + 1).astype(np.float64),
        "keypoints": (TRACKED_OF_68 + 1).reshape(1, -1).astype(np.float64),
        "point_buf": np.full((N, 8), len(FACES) + 1, np.float64),
        "skinmask": np.ones((1, N)),
        "frontmask2_idx": np.arange(1, 101).reshape(-1, 1),
        "tri_mask2": (FACES[:50] + 1).astype(np.float64),
    }
    scipy.io.savemat(folder / "facemodel_info.mat", info)
    return Bfm09(arrays, exp_basis, np.array([float(f"{v:.8e}") for v in exp_std]), trim, front)


LANDMARK_NAMES = {
    "center.nose.tip": 4,
    "center.chin.tip": 152,
    "center.lips.upper.inner": 13,
    "center.lips.lower.outer": 17,
    "right.eye.corner_outer": 33,
    "right.eye.corner_inner": 133,
    "left.eye.corner_inner": 362,
    "left.eye.corner_outer": 263,
    "right.lips.corner": 61,
    "left.lips.corner": 291,
    "right.eyebrow.bend.lower": 52,
    "left.eyebrow.bend.lower": 282,
    "right.lips.philtrum_ridge": 37,
    "left.lips.philtrum_ridge": 267,
    "center.nose.attachement_to_philtrum": 2,
    "left.ear.antihelix.tip": 454,  # one that talkjax does not know
}


def write_bfm_h5(path: pathlib.Path, seed: int = 1, landmarks: bool = True) -> dict[str, np.ndarray]:
    """An HDF5 file as of 2017 and 2019: 199 shape, 100 expression, 199 color components."""
    import h5py

    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for part, count, scale in (("shape", 199, 4000.0), ("expression", 100, 900.0), ("color", 199, 0.02)):
        basis = rng.normal(0, (3 * N) ** -0.5, (3 * N, count))
        arrays[f"{part}/model/pcaBasis"] = basis
        arrays[f"{part}/model/pcaVariance"] = scale * 0.97 ** np.arange(count)
        arrays[f"{part}/model/noiseVariance"] = np.zeros(1)
    arrays["shape/model/mean"] = (FACE * 100 + [0.0, 7.0, 11.0]).reshape(-1)
    arrays["expression/model/mean"] = rng.normal(0, 0.05, 3 * N)
    arrays["color/model/mean"] = rng.uniform(0.1, 0.9, 3 * N)
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    arrays["shape/representer/cells"] = FACES.T.astype(np.int32)
    points = arrays["shape/model/mean"].reshape(-1, 3)
    named = [{"id": n, "coordinates": points[k].tolist()} for n, k in LANDMARK_NAMES.items()]
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        if landmarks:
            file["metadata/landmarks/json"] = json.dumps(named)
    return arrays


def flame_arrays(seed: int = 2) -> dict[str, Any]:
    """The dict of FLAME's pickle: 468 vertices, 400 shapes, 5 joints."""
    rng = np.random.default_rng(seed)
    near = np.exp(-((FACE[:, None] - rng.normal(0, 0.5, (5, 3))) ** 2).sum(-1))
    regressor = scipy.sparse.random(5, N, 0.1, "csc", random_state=7)
    regressor = scipy.sparse.csc_matrix(regressor / regressor.sum(1))
    return {
        "v_template": FACE * 0.1 + [0.001, -0.02, 0.03],
        "f": FACES.astype(np.uint32),
        "shapedirs": rng.normal(0, 4e-4, (N, 3, 400)),
        "posedirs": rng.normal(0, 1e-3, (N, 3, 36)),
        "J_regressor": regressor,
        "J": rng.normal(size=(5, 3)),
        "weights": near / near.sum(1, keepdims=True),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def embedding_arrays() -> dict[str, np.ndarray]:
    """The 51 points of `flame_static_embedding.pkl`: triangles of the points' vertices, inside them."""
    triangle = np.array([np.flatnonzero((v == FACES).any(1))[0] for v in TRACKED_OF_68[17:]])
    bary = np.where(FACES[triangle] == TRACKED_OF_68[17:, None], 0.8, 0.1)
    return {"lmk_face_idx": triangle.astype(np.uint32), "lmk_b_coords": bary}


class _Python2Pickler(pickle._Pickler):
    """Protocol 2 as Python 2 wrote it: bytes and texts alike as 8-bit strings."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def _string(self, value: bytes | str) -> None:
        data = value.encode("latin-1") if isinstance(value, str) else value
        if len(data) < 256:
            self.write(b"U" + struct.pack("<B", len(data)) + data)
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = _string


def python2_pickle(value: Any, chumpy: tuple[str, ...] = ()) -> bytes:
    """A dict pickled as by Python 2, numpy 1 and an old scipy; arrays under `chumpy` as chumpy.ch.Ch."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    buffer = io.BytesIO()
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        wrapped = dict(value)
        for name in chumpy:
            held = module.Ch()
            held.__dict__.update(
                x=wrapped[name], _dirty_vars=set(), _itr=None, _parents={}, _cache={}, _status="new"
            )
            wrapped[name] = held
        _Python2Pickler(buffer, protocol=2).dump(wrapped)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    data = buffer.getvalue()
    for new, old in ((b"cnumpy._core.", b"cnumpy.core."), (b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")):
        data = data.replace(new, old)
    return data


def write_flame(folder: pathlib.Path, seed: int = 2) -> dict[str, Any]:
    """generic_model.pkl with chumpy arrays, as of 2020, and the landmark embedding beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = flame_arrays(seed)
    data = python2_pickle(arrays, chumpy=("shapedirs", "v_template"))
    (folder / "generic_model.pkl").write_bytes(data)
    (folder / "flame_static_embedding.pkl").write_bytes(python2_pickle(embedding_arrays()))
    return arrays
