"""Area covered by projected triangles, float64: the union of their cuts with many horizontal lines."""

from __future__ import annotations

import numpy as np


def union_area(points: np.ndarray, faces: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Integral over the union of the triangles of (1, x, y), by the midpoint rule over evenly spaced `lines`.

    Args:
      points: [v 2]; faces: [f 3]; lines: y values.
    """
    corner = points[faces]
    order = np.argsort(corner[:, :, 1], axis=1)
    corner = np.take_along_axis(corner, order[..., None], axis=1)
    (x0, y0), (x1, y1), (x2, y2) = (corner[:, i].T for i in range(3))
    step = lines[1] - lines[0]
    first = np.ceil((y0 - lines[0]) / step).astype(int).clip(0, len(lines))
    end = np.ceil((y2 - lines[0]) / step).astype(int).clip(0, len(lines))
    count = np.maximum(end - first, 0)
    face = np.repeat(np.arange(len(faces)), count)
    line = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[face]
    y = lines[line]
    with np.errstate(all="ignore"):
        long_side = x0[face] + (y - y0[face]) / (y2 - y0)[face] * (x2 - x0)[face]
        upper = x0[face] + (y - y0[face]) / (y1 - y0)[face] * (x1 - x0)[face]
        lower = x1[face] + (y - y1[face]) / (y2 - y1)[face] * (x2 - x1)[face]
    short_side = np.where(y < y1[face], upper, lower)
    left, right = np.minimum(long_side, short_side), np.maximum(long_side, short_side)
    total = np.zeros(3)
    order = np.lexsort((left, line))
    left, right, line = left[order], right[order], line[order]
    for k in np.unique(line):
        begin, stop = np.searchsorted(line, [k, k + 1])
        reach = np.maximum.accumulate(right[begin:stop])
        start = np.concatenate([[True], left[begin + 1 : stop] > reach[:-1]])
        a = left[begin:stop][start]
        b = reach[np.concatenate([np.flatnonzero(start)[1:] - 1, [stop - begin - 1]])]
        total += [(b - a).sum(), ((b**2 - a**2) / 2).sum(), (b - a).sum() * lines[k]]
    return total * step
