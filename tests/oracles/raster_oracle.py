"""Obvious rasterizer in numpy: 64-bit integers for coverage, float64 for depth and barycentrics."""

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
    depth.

    Every triangle is asked about every pixel of its box; what lies inside is sorted by pixel, depth, index.
    """
    x, y, ok = snap(clip, height, width)
    faces = np.asarray(faces)
    with np.errstate(all="ignore"):
        clip64 = np.asarray(clip, np.float32).astype(np.float64)
        z = np.where(ok, clip64[:, 2] / clip64[:, 3], 0)
    x, y, z, ok = x[faces], y[faces], z[faces], ok[faces].all(1)
    pixel, depth, face = inside_pixels(x, y, z, np.where(ok)[0], height, width, cull)
    return sorted_layers(pixel, depth, face, height, width)


def inside_pixels(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, drawn: np.ndarray, height: int, width: int, cull: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel index, depth and triangle of everything inside triangles `drawn` of corners x, y, z [f 3]."""
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    drawn = drawn[(area[drawn] < 0) if cull else (area[drawn] != 0)]
    # positive area: walking 0, 1, 2 keeps the inside on the right (y down)
    order = np.where((area < 0)[:, None], [0, 2, 1], [0, 1, 2])
    x, y, z = (np.take_along_axis(q, order, 1) for q in (x, y, z))
    # a generous box; exactness is the edge functions' business
    left, right = np.clip(x.min(1) // 256 - 1, 0, width), np.clip(x.max(1) // 256 + 2, 0, width)
    top, bottom = np.clip(y.min(1) // 256 - 1, 0, height), np.clip(y.max(1) // 256 + 2, 0, height)
    n_across = right - left
    n_tests = n_across * (bottom - top)
    drawn = drawn[n_tests[drawn] > 0]
    found = [(np.zeros(0, int), np.zeros(0), np.zeros(0, int))]
    # as many triangles at a time as make about a million tests
    for part in np.split(drawn, np.searchsorted(np.cumsum(n_tests[drawn]), np.arange(1, 10**4) * 10**6)):
        if not len(part):
            continue
        t = np.repeat(part, n_tests[part])
        k = np.arange(len(t)) - np.repeat(np.cumsum(n_tests[part]) - n_tests[part], n_tests[part])
        column, row = left[t] + k % n_across[t], top[t] + k // n_across[t]
        inside, depth = np.ones(len(t), bool), np.zeros(len(t))
        for i, j, opposite in ((1, 2, 0), (2, 0, 1), (0, 1, 2)):
            right_step, down_step = y[:, i] - y[:, j], x[:, j] - x[:, i]
            edge = right_step[t] * (column * 256 + 128 - x[t, i]) + down_step[t] * (row * 256 + 128 - y[t, i])
            # left edges go up, top edges go right: a center on one of those is inside
            owns = (right_step > 0) | ((right_step == 0) & (down_step > 0))
            inside &= (edge > 0) | ((edge == 0) & owns[t])
            depth += edge * z[t, opposite]
        depth /= np.abs(area[t])
        found.append(((row * width + column)[inside], depth[inside], t[inside]))
    pixel, depth, face = (np.concatenate(q) for q in zip(*found, strict=True))
    return pixel, depth, face


def sorted_layers(
    pixel: np.ndarray, depth: np.ndarray, face: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest face, nearest depth, second nearest depth [h w] of a list of (pixel, depth, face)."""
    order = np.lexsort((face, depth, pixel))
    pixel, depth, face = pixel[order], depth[order], face[order]
    first = np.flatnonzero(np.diff(pixel, prepend=-1))
    ids, nearest = np.full(height * width, -1), np.full(height * width, np.inf)
    second = nearest.copy()
    ids[pixel[first]], nearest[pixel[first]] = face[first], depth[first]
    more = np.diff(first, append=len(pixel)) > 1
    second[pixel[first[more]]] = depth[first[more] + 1]
    return tuple(q.reshape(height, width) for q in (ids, nearest, second))


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
