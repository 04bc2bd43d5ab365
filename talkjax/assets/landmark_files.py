"""Landmark annotations of face models: the 68-point scheme, named points, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from talkjax.assets.assembly import Anchors, unusable
from talkjax.assets.model_manifest import missing

N_POINTS = 68
_JAW = (127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 81, 13, 311, 308, 402, 14, 178)
TRACKED_OF_68 = np.array([*_JAW, *_BROWS, *_NOSE, *_EYES, *_LIPS])
"""Tracked landmark (0-467) nearest to each point of the 68-point scheme (iBUG 300-W, 0-based)."""
TRACKED_OF_68.setflags(write=False)
CHIN = 8
FIRST_INNER = 17
"""Points before it lie on the outline of the face, wherever that is seen: no fixed place of the skin."""

# scalismo-faces' names, without the side; the side is taken from the sign of x. (image left, image right)
_NAMED_PAIRS = {
    "eye.corner_outer": (33, 263),
    "eye.corner_inner": (133, 362),
    "eye.top": (159, 386),
    "eye.bottom": (145, 374),
    "eyebrow.inner_lower": (55, 285),
    "eyebrow.inner_upper": (107, 336),
    "eyebrow.bend.lower": (52, 282),
    "eyebrow.bend.upper": (105, 334),
    "lips.corner": (61, 291),
    "lips.philtrum_ridge": (37, 267),
}
_NAMED_CENTER = {
    "center.nose.tip": 4,
    "center.nose.attachement_to_philtrum": 2,
    "center.lips.upper.outer": 0,
    "center.lips.upper.inner": 13,
    "center.lips.lower.inner": 14,
    "center.lips.lower.outer": 17,
    "center.chin.tip": 152,
}


def anchors_of_68(verts68: np.ndarray | Mapping[int, int]) -> Anchors:
    """From the vertices of the 68 points (an array, or those that are known).

    The outline is left out except for the chin.
    """
    known = verts68 if isinstance(verts68, Mapping) else dict(enumerate(np.asarray(verts68).tolist()))
    return Anchors.at_vertices(
        {
            int(TRACKED_OF_68[point]): int(vertex)
            for point, vertex in known.items()
            if point >= FIRST_INNER or point == CHIN
        }
    )


def anchors_of_triangles(triangles: np.ndarray, bary: np.ndarray) -> Anchors:
    """From the triangles [n 3] and barycentrics [n 3] of all 68 points, or of the 51 without the outline."""
    first = N_POINTS - len(bary)
    points = np.arange(first, N_POINTS)
    kept = (points >= FIRST_INNER) | (points == CHIN)
    return Anchors(TRACKED_OF_68[points[kept]], triangles[kept], bary[kept])


def anchors_of_names(points: Mapping[str, np.ndarray], verts: np.ndarray) -> Anchors:
    """Nearest vertices of named places [3] in the space of `verts` [v 3]; unknown names are passed over."""
    anchors: dict[int, int] = {}
    for name, place in points.items():
        number = _NAMED_CENTER.get(name)
        if number is None:
            pair = _NAMED_PAIRS.get(name.partition(".")[2])
            number = None if pair is None else pair[int(place[0] > 0)]
        if number is not None:
            anchors[number] = int(((verts - np.asarray(place)) ** 2).sum(-1).argmin())
    return Anchors.at_vertices(anchors)


def read_68(path: Path) -> dict[int, int]:
    """Point (0-67) -> vertex from a file of the user's.

    An npy or npz with 68 vertex numbers; or text: 68 numbers, or lines `point = vertex` or `point vertex`
    whose points count from 1 as in the iBUG scheme (`#` begins a comment).

    Raises:
      InputError: (`face_model_source`) anything else.
    """
    wanted = "68 vertex numbers (npy, npz or text), or lines `point = vertex` with points from 1 to 68"
    if not path.is_file():
        raise missing(path)
    try:
        if path.suffix in (".npy", ".npz"):
            data = np.load(path, allow_pickle=False)
            values = np.asarray(data if path.suffix == ".npy" else data[data.files[0]]).reshape(-1)
            rows = [[float(v)] for v in values]
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            text = (line.partition("#")[0].replace("=", " ").replace(",", " ") for line in lines)
            rows = [[float(word) for word in line.split()] for line in text if line.strip()]
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError) as error:
        raise unusable(path, f"not a list of landmarks ({error})", wanted) from error
    flat = [value for row in rows for value in row]
    if (
        any(value != int(value) or value < 0 for value in flat if np.isfinite(value))
        or not np.isfinite(flat).all()
    ):
        raise unusable(path, "landmarks are whole numbers from 0", wanted)
    if len(flat) == N_POINTS and len({len(row) for row in rows}) == 1 and len(rows[0]) != 2:
        return {point: int(value) for point, value in enumerate(flat)}
    if rows and all(len(row) == 2 and 1 <= row[0] <= N_POINTS for row in rows):
        return {int(point) - 1: int(vertex) for point, vertex in rows}
    raise unusable(path, f"{len(flat)} numbers in {len(rows)} lines", wanted)
