"""Figures of a reconstruction network that sees one picture of each face."""

from __future__ import annotations

from typing import Any

import numpy as np

from talkjax.evaluate.reconstruction import expression_error, pose_error, shape_error
from talkjax.face.points import points_at
from talkjax.face.pose import rotation
from talkjax.tasks.reconstruction import Measures, ReconstructionBatch, View
from talkjax.types import FaceCoeffs, FaceModel

OUTER_EYES = (33, 263)


def one_shot_figures(
    model: FaceModel, measures: Measures, said: FaceCoeffs, view: View, truth: ReconstructionBatch
) -> dict[str, float]:
    """Means over pictures.

    shape_percent: `shape_error` of the neutral faces, % of the distance between the outer corners of the
    eyes. mesh_percent: the same of the faces with their expressions. pose_degrees, expression (0..1). The
    rows named `mean_...` are those of the mean face and mean expression: what is known without looking.
    """
    skin = np.asarray(measures.skin_verts)
    mean, id_basis, exp_basis = (
        np.asarray(x)[..., skin, :] for x in (model.mean, model.id_basis, model.exp_basis)
    )
    numbers = np.asarray(model.landmarks.number)
    corners = [int(np.flatnonzero(numbers == n)[0]) for n in OUTER_EYES]
    marked, by_id = (np.asarray(points_at(x, model.landmarks)) for x in (model.mean, model.id_basis))
    rows: dict[str, list[float]] = {"shape_percent": [], "mesh_percent": [], "mean_shape_percent": []}
    for k in range(len(said.id_coeffs)):
        ends = marked[corners] + np.einsum("k,kec->ec", truth.id_coeffs[k], by_id[:, corners])
        eyes = float(np.linalg.norm(ends[0] - ends[1]))
        true = mean + np.tensordot(truth.id_coeffs[k], id_basis, 1)
        found = mean + np.tensordot(said.id_coeffs[k], id_basis, 1)
        true_exp, found_exp = (
            np.tensordot(np.clip(x, 0.0, 1.0), exp_basis, 1)
            for x in (truth.exp_coeffs[k], said.exp_coeffs[k])
        )
        rows["shape_percent"].append(shape_error(found, true, eyes))
        rows["mesh_percent"].append(shape_error(found + found_exp, true + true_exp, eyes))
        rows["mean_shape_percent"].append(shape_error(mean, true, eyes))
    angle = pose_error(np.asarray(rotation(said.pose.euler)), np.asarray(rotation(view.network_pose.euler)))
    exp = np.asarray(truth.exp_coeffs)[: len(angle)]
    figures: dict[str, Any] = {name: np.mean(values) for name, values in rows.items()}
    figures["pose_degrees"] = np.mean(angle)
    figures["expression"] = expression_error(np.asarray(said.exp_coeffs), exp)
    figures["mean_expression"] = expression_error(np.broadcast_to(np.median(exp, 0), exp.shape), exp)
    return {name: round(float(value), 4) for name, value in figures.items()}
