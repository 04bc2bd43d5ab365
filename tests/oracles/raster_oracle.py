"""Slow, obvious rasterizer in numpy: 64-bit integers for coverage, float64 for depth and barycentrics."""

from __future__ import annotations

import numpy as np


def snap(clip: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices in 1/256 px (x right, y down) by the documented float32 rule, and which of them may be
    drawn."""
    clip = np.asarray(clip, np.float32)
    with np.errstate(all="ignore"):
        w = clip[:, 3]
        ok = np.isfinite(clip).all(1) & (w > 0) & (clip[:, 2] >= -w)
        x = np.rint((clip[:, 0] / w) * np.float32(128 * width))
        y = np.rint((-clip[:, 1] / w) * np.float32(128 * height))
        ok &= (np.abs(x) < 2**23) & (np.abs(y) < 2**23)
    x, y = np.where(ok, x, 0).astype(np.int64), np.where(ok, y, 0).astype(np.int64)
    return x + 128 * width, y + 128 * height, ok


def face_ids(
    clip: np.ndarray, faces: np.ndarray, height: int, width: int, cull: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per pixel: the nearest face (-1: none; lowest index on equal depth), its depth, and the second nearest
    depth."""
    xs, ys, ok = snap(clip, height, width)
    clip64 = np.asarray(clip, np.float32).astype(np.float64)
    with np.errstate(all="ignore"):
        zs = clip64[:, 2] / clip64[:, 3]
    ids = np.full((height, width), -1)
    nearest, second = np.full((height, width), np.inf), np.full((height, width), np.inf)
    for k, face in enumerate(np.asarray(faces)):
        if not ok[face].all():
            continue
        points = [(int(xs[i]), int(ys[i]), zs[i]) for i in face]
        (x0, y0, _), (x1, y1, _), (x2, y2, _) = points
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (cull and area > 0):
            continue
        if area < 0:
            points, area = [points[0], points[2], points[1]], -area
        # a generous box; exactness is the edge functions' business
        c0, c1 = max(min(x0, x1, x2) // 256 - 1, 0), min(max(x0, x1, x2) // 256 + 2, width)
        r0, r1 = max(min(y0, y1, y2) // 256 - 1, 0), min(max(y0, y1, y2) // 256 + 2, height)
        if c0 >= c1 or r0 >= r1:
            continue
        px = np.arange(c0, c1, dtype=np.int64) * 256 + 128
        py = (np.arange(r0, r1, dtype=np.int64) * 256 + 128)[:, None]
        inside, depth = np.ones((r1 - r0, c1 - c0), bool), np.zeros((r1 - r0, c1 - c0))
        for i in range(3):
            (xa, ya, _), (xb, yb, _) = points[(i + 1) % 3], points[(i + 2) % 3]
            edge = (xb - xa) * (py - ya) - (yb - ya) * (px - xa)
            # walking with the inside on the right (y down): left edges go up, top edges go right
            is_left, is_top = yb < ya, yb == ya and xb > xa
            inside &= (edge >= 0) if (is_left or is_top) else (edge > 0)
            depth += edge * points[i][2]
        depth = depth / area
        box = np.s_[r0:r1, c0:c1]
        better = inside & (depth < nearest[box])
        second[box] = np.where(
            better, nearest[box], np.where(inside, np.minimum(second[box], depth), second[box])
        )
        ids[box] = np.where(better, k, ids[box])
        nearest[box] = np.where(better, depth, nearest[box])
    return ids, nearest, second


def fragments(clip: np.ndarray, faces: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barycentrics [n 3] and NDC depth [n] of the covered pixels of `ids`, in row-major order, float64.

    Screen-space weights by a 3 x 3 solve; divided by w they are perspective-correct; depth is linear on
    screen.
    """
    height, width = ids.shape
    rows, columns = np.nonzero(ids >= 0)
    c = np.asarray(clip, np.float64)[np.asarray(faces)[ids[rows, columns]]]
    u = (c[..., 0] / c[..., 3] + 1) * width / 2
    v = (1 - c[..., 1] / c[..., 3]) * height / 2
    centers = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], -1)
    screen = np.linalg.solve(np.stack([u, v, np.ones_like(u)], 1), centers[..., None])[..., 0]
    weights = screen / c[..., 3]
    depth = (screen * c[..., 2] / c[..., 3]).sum(-1)
    return weights / weights.sum(-1, keepdims=True), depth
