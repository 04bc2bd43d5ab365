"""Basel Face Model 2009 with the expression basis of Guo et al., assembled as in reference.md §2.1.

The folder holds `01_MorphableModel.mat` (Paysan et al. 2009; 53,490 vertices, 199 components, micrometres),
`Exp_Pca.bin` (int32 count, float32 mean [3 n], float32 components [count, 3 n], n = 53,215) with
`std_exp.txt`, `BFM_exp_idx.mat` (`trimIndex`: which of the 53,490 the 53,215 are), `BFM_front_idx.mat`
(`idx`: which of the 53,215 make the 35,709 of the face) and `facemodel_info.mat` (`tri`, `keypoints`).
Indices in the files count from 1. Sizes come from the files; the real ones are those above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.assembly import Loaded, build_model, components, outward, unusable
from talkjax.assets.catalogue import BFM09
from talkjax.assets.landmark_files import N_POINTS, anchors_of_68
from talkjax.assets.model_manifest import missing

_TO_DM = 1e-5  # from micrometres
N_ID, N_EXP, N_TEX = 80, 64, 80
_NOTES = (
    "coefficients in standard deviations; expression mean of Exp_Pca.bin not added (reference.md §2.1)",
    "uv: own cylindrical unwrap; landmarks: 68 keypoints, the others from the template",
)


def load_bfm09(folder: Path, n_id: int = N_ID, n_exp: int = N_EXP, n_tex: int = N_TEX) -> Loaded:
    """Reads the folder.

    Args:
      n_id, n_exp, n_tex: components that are kept, the reference's by default.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) a file is missing, cut off, or does not fit the
        others.
    """
    files = tuple(folder / name for name in BFM09.files)
    for file in files:
        if not file.is_file():
            raise missing(file)
    main, expression, deviations, exp_index, front_index, info = files
    basel = read_mat(main, ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV"))
    n_full = basel["shapeMU"].size // 3
    trim = _indices(exp_index, read_mat(exp_index, ("trimIndex",))["trimIndex"], n_full)
    front = _indices(front_index, read_mat(front_index, ("idx",))["idx"], len(trim))
    rows = trim[front]

    mean = _points(main, "shapeMU", basel["shapeMU"])[0, rows] * _TO_DM
    id_basis = _scaled(main, "shape", basel, n_id)[:, rows] * _TO_DM
    exp_basis = _expressions(expression, deviations, len(trim), n_exp)[:, front] * _TO_DM
    tex_basis = _scaled(main, "tex", basel, n_tex)[:, rows] / 255.0
    tex_mean = _points(main, "texMU", basel["texMU"])[0, rows] / 255.0
    layout = read_mat(info, ("tri", "keypoints"))
    keypoints = _indices(info, layout["keypoints"], len(rows))
    if len(keypoints) != N_POINTS:
        raise unusable(info, f"keypoints has {len(keypoints)} entries", f"{N_POINTS}")
    faces = _indices(info, layout["tri"], len(rows)).reshape(-1, 3)
    mean = mean - mean.mean(0)  # reference.md §2.2: the mean vertex of the mean shape is the origin
    model = build_model(
        path=folder,
        name="bfm09",
        mean=mean,
        id_basis=id_basis,
        exp_basis=exp_basis,
        faces=outward(mean, faces),
        anchors=anchors_of_68(keypoints),
        tex_mean=tex_mean,
        tex_basis=tex_basis,
    )
    return Loaded(model, files, _NOTES)


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Numeric arrays of a MATLAB 5 file.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) not readable, or one of `names` is not in it.
    """
    import scipy.io

    if not path.is_file():
        raise missing(path)
    wanted = f"a MATLAB file with {', '.join(names)}"
    try:
        data: dict[str, Any] = scipy.io.loadmat(path, variable_names=list(names))
    except Exception as error:  # a damaged file ends in whatever the reader stumbles over
        raise unusable(path, f"not a readable MATLAB file ({type(error).__name__})", wanted) from error
    for name in names:
        if name not in data:
            raise unusable(path, f"lacks {name}", wanted)
        if not isinstance(data[name], np.ndarray) or data[name].dtype.kind not in "fiu":
            raise unusable(path, f"{name} is not an array of numbers", wanted)
    return {name: data[name] for name in names}


def _indices(path: Path, values: np.ndarray, end: int) -> np.ndarray:
    """Indices of a file that counts from 1, from 0 and flat (row-major)."""
    flat = np.asarray(values).reshape(-1).astype(np.int64) - 1
    if flat.size and not (flat.min() >= 0 and flat.max() < end):
        raise unusable(path, f"indices {flat.min() + 1} to {flat.max() + 1}", f"1 to {end}")
    return flat


def _points(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """[3 n] or [3 n, k] (a vertex's three numbers together) -> [k n 3]."""
    if len(values) % 3:
        raise unusable(path, f"{name} has {len(values)} rows", "three for each vertex")
    return values.reshape(len(values), -1).T.reshape(-1, len(values) // 3, 3).astype(np.float64)


def _scaled(path: Path, part: str, basel: dict[str, np.ndarray], wanted: int) -> np.ndarray:
    """[k n 3]: `part`PC times `part`EV (its standard deviations)."""
    basis, deviations = basel[f"{part}PC"], basel[f"{part}EV"].reshape(-1)
    if basis.ndim != 2 or basis.shape[1] != len(deviations) or len(basis) != basel["shapeMU"].size:
        raise unusable(
            path,
            f"{part}PC has shape {list(basis.shape)}",
            f"[{basel['shapeMU'].size}, {len(deviations)}] as {part}MU and {part}EV say",
        )
    if basel[f"{part}MU"].size != len(basis):
        raise unusable(path, f"{part}MU has {basel[f'{part}MU'].size} numbers", str(len(basis)))
    kept = components(path, f"{part}PC", basis.T, wanted).astype(np.float64)
    return _points(path, f"{part}PC", (kept * deviations[:wanted, None]).T)


def _expressions(path: Path, deviations: Path, n_verts: int, wanted: int) -> np.ndarray:
    """[wanted n 3] micrometres: components of Exp_Pca.bin times std_exp.txt."""
    data = path.read_bytes()
    count = int(np.frombuffer(data[:4], "<i4")[0]) if len(data) >= 4 else 0
    expected = 4 + 4 * 3 * n_verts * (1 + count)
    if count <= 0 or len(data) != expected:
        raise unusable(
            path,
            f"{len(data)} bytes",
            f"{expected} bytes for {count} expressions of {n_verts} vertices"
            if count > 0
            else "a count first",
        )
    try:
        sigma = np.array(deviations.read_text(encoding="ascii").split(), np.float64)
    except ValueError as error:
        raise unusable(deviations, "not a list of numbers", f"{count} standard deviations") from error
    if len(sigma) != count:
        raise unusable(deviations, f"{len(sigma)} numbers", f"{count} standard deviations")
    basis = np.frombuffer(data, "<f4", offset=4 + 4 * 3 * n_verts).reshape(count, n_verts, 3)
    kept = components(path, "Exp_Pca.bin", basis, wanted).astype(np.float64)
    return kept * sigma[:wanted, None, None]
