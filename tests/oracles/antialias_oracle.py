"""Slow, obvious edge-driven antialiasing in numpy, float64: loops over edges, rows and columns."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.oracles import raster_oracle


def antialias(
    color: np.ndarray,
    clip: np.ndarray,
    faces: np.ndarray,
    ids: np.ndarray,
    depth: np.ndarray,
    snapped_clip: np.ndarray | None = None,
) -> np.ndarray:
    """The rule of docs/raster.md for meshes in front of the camera, both sides drawn, no repeated vertices.

    `snapped_clip`: the vertices (float32) that decide who crosses where, when `clip` is moved a little for
    finite differences.
    """
    height, width = ids.shape
    sx, sy, ok = raster_oracle.snap(clip if snapped_clip is None else snapped_clip, height, width)
    clip = np.asarray(clip, np.float64)
    with np.errstate(all="ignore"):
        x = (clip[:, 0] / clip[:, 3] + 1) * width / 2
        y = (1 - clip[:, 1] / clip[:, 3]) * height / 2
        z = clip[:, 2] / clip[:, 3]
    owners = defaultdict(list)
    for k, face in enumerate(faces):
        if len(set(face)) == 3 and ok[face].all():
            for i in range(3):
                owners[tuple(sorted((face[i], face[(i + 1) % 3])))].append((k, face[(i + 2) % 3]))
    parts = _parts(faces)
    best: dict[tuple[int, int, int], tuple] = {}
    for (a, b), wings in owners.items():

        def side(c: int, a: int = a, b: int = b) -> bool:
            return (sx[b] - sx[a]) * (sy[c] - sy[a]) - (sx[c] - sx[a]) * (sy[b] - sy[a]) > 0

        if len(wings) == 2 and side(wings[0][1]) != side(wings[1][1]):
            continue
        for face, opposite in wings if len(wings) != 2 else wings[:1]:
            for direction, line, before, plus, counts in _crossings(
                sx, sy, a, b, side(opposite), height, width
            ):
                pixels = [(line, before), (line, before + 1)]
                if direction == 1:
                    pixels = [(c, r) for r, c in pixels]
                inside, outside = pixels[::-1] if plus else pixels
                offset, t = _exact(x, y, sx, sy, a, b, direction, line)
                if ids[inside] < 0 or parts[ids[inside]] != parts[face]:
                    continue
                if ids[outside] >= 0 and z[a] + t * (z[b] - z[a]) >= depth[outside]:
                    continue
                share = (0.5 - (offset - before)) if plus else (offset - before - 0.5)
                if share > best.get((direction, *pixels[0]), (-np.inf,))[0]:
                    best[(direction, *pixels[0])] = (share, inside, outside, counts)
    image = np.asarray(color, np.float64)
    for direction in (0, 1):
        before_pass, image = image, image.copy()
        for (d, _, _), (share, inside, outside, counts) in best.items():
            if d == direction and counts:
                target = outside if share > 0 else inside
                image[target] += np.clip(share, -0.5, 0.5) * (before_pass[inside] - before_pass[outside])
    return image


def _parts(faces: np.ndarray) -> np.ndarray:
    """Connected part per face: the smallest vertex that can be reached."""
    label = np.arange(faces.max() + 1)
    while True:
        new = label.copy()
        np.minimum.at(new, faces, label[faces].min(axis=1, keepdims=True))
        if (new == label).all():
            return label[faces[:, 0]]
        label = new


def _crossings(sx, sy, a, b, positive_side, height, width):
    """Of the snapped edge a b: (0 rows / 1 columns, line, pixel before the crossing, surface at the larger
    coordinate, whether it counts in this direction or only blocks)."""
    dx, dy = int(sx[b] - sx[a]), int(sy[b] - sy[a])
    for direction in (0, 1):
        along, across = ((sy, sx), (sx, sy))[direction]
        n_lines, n_across = ((height, width), (width, height))[direction]
        low, high = sorted((int(along[a]), int(along[b])))
        # the positive side of a -> b is (-dy, dx)
        plus = positive_side == ((-dy > 0) if direction == 0 else (dx > 0))
        counts = (abs(dy) >= abs(dx)) == (direction == 0)
        for line in range(max(-((128 - low) // 256), 0), n_lines):
            center = 256 * line + 128
            if center >= high:
                break
            step = int(along[b] - along[a])
            # ceil of the place in whole pixels, in integers
            numerator = (int(across[a]) - 128) * step + (center - int(along[a])) * int(across[b] - across[a])
            before = -((-numerator) // (256 * step)) - 1
            if 0 <= before < n_across - 1:
                yield direction, line, before, plus, counts


def _exact(x, y, sx, sy, a, b, direction, line):
    """Where the unrounded edge crosses, in pixels from the first center, and how far along."""
    along, across = ((y, x), (x, y))[direction]
    step = along[b] - along[a]
    t = (line + 0.5 - along[a]) / step if abs(step) > 1e-6 else 0.5
    return across[a] + t * (across[b] - across[a]) - 0.5, t
