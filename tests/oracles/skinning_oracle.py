"""FLAME's shape, vertex by vertex with 4 x 4 matrices (Li et al. 2017, eq. 1-5), in the units of its file."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


def flame_verts(
    arrays: dict[str, Any], betas: np.ndarray, expression: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """Vertices [v 3], metres.

    Args:
      arrays: of the pickle.
      betas: identity [<= 300]. expression: [<= 100]. vectors: [5 3] axis-angle per joint.
    """
    dirs = np.asarray(arrays["shapedirs"])
    shaped = np.array(arrays["v_template"], np.float64)
    for k, value in enumerate(betas):
        shaped = shaped + value * dirs[:, :, k]
    for k, value in enumerate(expression):
        shaped = shaped + value * dirs[:, :, 300 + k]
    joints = arrays["J_regressor"].toarray() @ shaped
    turns = [Rotation.from_rotvec(vector).as_matrix() for vector in vectors]
    feature = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[1:]])
    posed = shaped + np.asarray(arrays["posedirs"]) @ feature
    world: list[np.ndarray] = []
    for j in range(5):
        local = np.eye(4)
        local[:3, :3] = turns[j]
        if j == 0:
            local[:3, 3] = joints[0]
            world.append(local)
        else:
            parent = int(arrays["kintree_table"][0, j])
            local[:3, 3] = joints[j] - joints[parent]
            world.append(world[parent] @ local)
    verts = np.zeros_like(shaped)
    for i, point in enumerate(posed):
        blended = np.zeros((4, 4))
        for j in range(5):
            from_rest = np.eye(4)
            from_rest[:3, 3] = -joints[j]
            blended += arrays["weights"][i, j] * (world[j] @ from_rest)
        verts[i] = (blended @ np.append(point, 1.0))[:3]
    return verts
