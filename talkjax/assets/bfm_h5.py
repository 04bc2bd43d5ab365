"""Basel Face Models 2017 and 2019 (Gerig et al. 2018): one HDF5 file in statismo's layout.

`/{shape,expression,color}/model/{mean [3 n], pcaBasis [3 n, k], pcaVariance [k]}` (a vertex's three numbers
together; millimetres, colors in [0, 1]), `/shape/representer/cells` [3, f] from 0, and in
`/metadata/landmarks/json` a list of `{"id": name, "coordinates": [x, y, z]}`. The frame is the project's: x
to image right, y up, z out of the face. Needs h5py (extra `models`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.assembly import (
    Loaded,
    build_model,
    components,
    landmark_origin,
    outward,
    unusable,
    without_back,
)
from talkjax.assets.landmark_files import anchors_of_68, anchors_of_names, read_68
from talkjax.assets.model_manifest import missing
from talkjax.errors import InputError

_TO_DM = 1e-2  # from millimetres
N_ID, N_EXP, N_TEX = 80, 64, 80
_NOTES = (
    "coefficients in standard deviations (basis times square root of variance)",
    "neutral: mean of shape plus mean of expression; origin: mean of the marked landmarks",
    "uv: own cylindrical unwrap; landmarks beyond the named ones from the template",
)


def load_bfm_h5(
    path: Path,
    name: str,
    landmarks: Path | None = None,
    n_id: int = N_ID,
    n_exp: int = N_EXP,
    n_tex: int = N_TEX,
    part: str = "face",
) -> Loaded:
    """Reads the file.

    Args:
      name: of the model, `bfm17` or `bfm19`.
      landmarks: vertices of the 68 points (see `landmark_files.read_68`); by default the file's own.
      n_id, n_exp, n_tex: components that are kept.
      part: `face` leaves out the triangles at the back of a whole head, `full` keeps them.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`, `package_missing`) not there, not HDF5, cut off,
        arrays that do not fit together, no landmarks, or h5py is not installed.
    """
    raw = _read(path)
    mean, id_basis = _part(path, raw, "shape", n_id)
    exp_mean, exp_basis = _part(path, raw, "expression", n_exp)
    tex_mean, tex_basis = _part(path, raw, "color", n_tex)
    if not len(mean) == len(exp_mean) == len(tex_mean):
        sizes = f"{len(mean)}, {len(exp_mean)} and {len(tex_mean)}"
        raise unusable(path, f"shape, expression and color have {sizes} vertices", "the same number")
    cells = raw["shape/representer/cells"]
    if cells.ndim != 2 or cells.shape[0] != 3:
        raise unusable(path, f"shape/representer/cells has shape {list(cells.shape)}", "[3, triangles]")
    if landmarks is not None:
        anchors = anchors_of_68(read_68(landmarks))
    else:
        anchors = anchors_of_names(_named_points(path, raw), mean)
    files = (path,) if landmarks is None else (path, landmarks)
    neutral = (mean + exp_mean) * _TO_DM
    neutral -= landmark_origin(landmarks or path, neutral, anchors)
    faces = cells.T.astype(np.int64)
    if faces.size and not (faces.min() >= 0 and faces.max() < len(mean)):
        raise unusable(path, f"triangles name vertices up to {faces.max()}", f"0 to {len(mean) - 1}")
    faces = outward(neutral, faces)
    model = build_model(
        path=path,
        name=name,
        mean=neutral,
        id_basis=id_basis * _TO_DM,
        exp_basis=exp_basis * _TO_DM,
        faces=faces if part == "full" else without_back(neutral, faces),
        anchors=anchors,
        tex_mean=np.clip(tex_mean, 0.0, 1.0),
        tex_basis=tex_basis,
    )
    return Loaded(model, files, _NOTES)


def _read(path: Path) -> dict[str, Any]:
    """Dataset name -> array (or the landmark text), only those that are needed."""
    if not path.is_file():
        raise missing(path)
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "reading Basel Face Models 2017 and 2019 needs the package h5py",
            fix="pip install 'talkjax[models]'",
            code="package_missing",
        ) from error
    names = [
        f"{part}/model/{array}"
        for part in ("shape", "expression", "color")
        for array in ("mean", "pcaBasis", "pcaVariance")
    ]
    found: dict[str, Any] = {}
    wanted = "an HDF5 file of a Basel Face Model with shape, expression and color"
    try:
        with h5py.File(path, "r") as file:
            for name in (*names, "shape/representer/cells"):
                if not isinstance(file.get(name), h5py.Dataset):
                    raise unusable(path, f"lacks /{name}", wanted)
                found[name] = np.asarray(file[name])
            if isinstance(text := file.get("metadata/landmarks/json"), h5py.Dataset):
                found["landmarks"] = np.asarray(text[()]).tobytes() if text.shape else text[()]
    except InputError:
        raise
    except Exception as error:  # a damaged file ends in whatever the library stumbles over
        raise unusable(path, f"not a readable HDF5 file ({type(error).__name__})", wanted) from error
    for name in (*names, "shape/representer/cells"):
        if found[name].dtype.kind not in "fiu":
            raise unusable(path, f"/{name} holds {found[name].dtype}", "numbers")
    return found


def _part(path: Path, raw: dict[str, Any], part: str, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [n 3] and the first components [wanted n 3], each one standard deviation long."""
    mean, basis, variance = (raw[f"{part}/model/{a}"] for a in ("mean", "pcaBasis", "pcaVariance"))
    mean, variance = mean.reshape(-1), variance.reshape(-1)
    if mean.size % 3 or basis.shape != (mean.size, variance.size):
        raise unusable(
            path,
            f"/{part}/model/pcaBasis has shape {list(basis.shape)}",
            f"[{mean.size}, {variance.size}] as its mean and variance say",
        )
    if (variance < 0).any():
        raise unusable(path, f"/{part}/model/pcaVariance has negative numbers", "variances")
    kept = components(path, f"/{part}/model/pcaBasis", basis.T, wanted).astype(np.float64)
    scaled = kept * np.sqrt(variance[:wanted].astype(np.float64))[:, None]
    return mean.astype(np.float64).reshape(-1, 3), scaled.reshape(wanted, -1, 3)


def _named_points(path: Path, raw: dict[str, Any]) -> dict[str, np.ndarray]:
    wanted = "landmarks in the file, or --landmarks=FILE with the vertices of the 68 points"
    if "landmarks" not in raw:
        raise unusable(path, "has no /metadata/landmarks/json", wanted)
    text = raw["landmarks"]
    try:
        entries = json.loads(text.rstrip(b"\0") if isinstance(text, bytes) else text)
        return {str(e["id"]): np.array(e["coordinates"], np.float64).reshape(3) for e in entries}
    except (ValueError, TypeError, KeyError) as error:
        raise unusable(path, "its /metadata/landmarks/json cannot be read", wanted) from error
