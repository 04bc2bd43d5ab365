"""What a ray through each pixel's center hits first, in float64: no snapping, no projection, no clipping."""

from __future__ import annotations

import numpy as np


def cast(
    clip: np.ndarray, faces: np.ndarray, height: int, width: int, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face hit first [h w] (-1: none), its barycentrics [h w 3] and NDC depth [h w] (infinite: none).

    A hit is a point b0 v0 + b1 v1 + b2 v2 of the triangle, all b >= 0, that projects to the pixel, has w > 0
    and does not lie before the near plane (z >= -w). `shift` moves all centers by so many pixels.
    """
    corners = np.asarray(clip, np.float64)[np.asarray(faces)]
    px = (2 * (np.arange(width) + 0.5 + shift[0]) / width - 1)[None, :]
    py = (1 - 2 * (np.arange(height) + 0.5 + shift[1]) / height)[:, None]
    pixel = np.stack(np.broadcast_arrays(px, py, np.ones((height, width))), -1)
    ids = np.full((height, width), -1)
    bary, nearest = np.zeros((height, width, 3)), np.full((height, width), np.inf)
    for k, corner in enumerate(corners):
        matrix = corner[:, [0, 1, 3]].T
        if not np.isfinite(corner).all() or abs(np.linalg.det(matrix)) < 1e-30:
            continue
        b = pixel @ np.linalg.inv(matrix).T
        # b are weights of a point s (px, py, 1), s > 0 ahead of the eye: a positive sum
        total = b.sum(-1)
        with np.errstate(all="ignore"):
            b = b / total[..., None]
            z, w = b @ corner[:, 2], b @ corner[:, 3]
            depth = z / w
            hit = (total > 0) & (b >= 0).all(-1) & (z >= -w) & (depth < nearest)
        ids[hit], bary[hit], nearest[hit] = k, b[hit], depth[hit]
    return ids, bary, nearest


def certain(clip: np.ndarray, faces: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels [h w] whose neighborhood of 1/64 px shows one face only: snapping cannot matter there."""
    ids = cast(clip, faces, height, width)[0]
    same = np.ones((height, width), bool)
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        same &= cast(clip, faces, height, width, (shift[0] / 64, shift[1] / 64))[0] == ids
    return same
