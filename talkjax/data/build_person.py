"""Packs the embedded face geometry (`embedded/person.npz`) from ICT-FaceKit's light model (MIT).

    python -m talkjax.data.build_person --facekit=PATH/TO/ict_facekit

Run once by a maintainer; users only read the packed file. What is kept: face, head and neck, mouth cavity,
eye sockets, gums with tongue, teeth and eyeballs of the generic neutral mesh, the expression shapes in
`EXPRESSIONS`, and the first `N_IDENTITY` identity shapes (so that a seed can vary the person). What is left
out: lashes, tear fluid and the other transparent helper meshes (their lid margins are kept as indices), and
the remaining shapes. Positions are rounded to 0.02 mm, shapes to 0.04 mm.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil

import numpy as np

EMBEDDED = pathlib.Path(__file__).resolve().parent / "embedded"
STEP_CM = 0.002
DELTA_STEP_CM = 0.004
N_IDENTITY = 6
IDENTITY_STEP_CM = 0.008

_PAIRED = (
    *("mouthStretch", "mouthSmile", "mouthLowerDown", "mouthUpperUp", "mouthPress", "mouthDimple"),
    *("mouthFrown", "browInnerUp", "browOuterUp", "browDown", "eyeBlink", "eyeSquint", "eyeWide"),
    *("eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut", "cheekSquint"),
)
EXPRESSIONS: tuple[str, ...] = (
    *("jawOpen", "jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"{name}_{side}" for name in _PAIRED for side in "LR"),
)
"""Names are ICT-FaceKit's; L is the person's left."""

MATERIALS = {
    "M_Face": 0,
    "M_BackHead": 1,
    "M_GumsTongue": 2,
    "M_Teeth": 3,
    "M_ScleraLeft": 4,
    "M_ScleraRight": 5,
}


def _read_vertices(path: pathlib.Path) -> np.ndarray:
    with path.open() as file:
        return np.array([line.split()[1:4] for line in file if line.startswith("v ")], np.float64)


def _read_mesh(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices [v 3] cm, texture coordinates [n 2], and per material its polygons of (vertex, uv) pairs."""
    verts, uvs, material = [], [], ""
    polygons: dict[str, list[list[tuple[int, int]]]] = {}
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            verts.append([float(x) for x in rest[:3]])
        elif kind == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif kind == "usemtl":
            material = rest[0]
        elif kind == "f":
            pairs = [corner.split("/") for corner in rest]
            corners = [(int(vertex) - 1, int(uv) - 1) for vertex, uv, *_ in pairs]
            polygons.setdefault(material, []).append(corners)
    return np.array(verts), np.array(uvs), polygons


def _lid_margins(
    verts: np.ndarray, lashes: list[list[tuple[int, int]]], n_face: int
) -> dict[str, np.ndarray]:
    """Face vertices along each lid margin, from the lash cards' roots: upper_l, upper_r, lower_l, lower_r.

    A lash card bends away from the eyeball, so its root is the edge of its strip nearest the face mesh.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    edges = np.array([(q[i][0], q[(i + 1) % len(q)][0]) for q in lashes for i in range(len(q))])
    used = np.unique(edges)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(verts), len(verts)))
    labels = connected_components(graph, directed=False)[1][used]
    tree = cKDTree(verts[:n_face])
    margins: dict[str, set[int]] = {}
    for label in np.unique(labels):
        card = used[labels == label]
        distance, nearest = tree.query(verts[card])
        roots = nearest[distance < 0.06]
        center = verts[card].mean(0)
        key = ("upper" if center[1] > 3.3 else "lower") + ("_l" if center[0] > 0 else "_r")
        margins.setdefault(key, set()).update(roots.tolist())
    ordered = {}
    for key, members in margins.items():
        index = np.array(sorted(members))
        ordered[key] = index[np.argsort(np.abs(verts[index, 0]))]
    return ordered


def _byte_planes(values: np.ndarray) -> np.ndarray:
    """int16 [...] -> uint8 [2 ...] (zigzag, low and high bytes): deflate packs it twice as well."""
    zigzag = ((values.astype(np.int32) << 1) ^ (values.astype(np.int32) >> 31)).astype(np.uint16)
    return np.stack([(zigzag & 255).astype(np.uint8), (zigzag >> 8).astype(np.uint8)])


def pack(facekit: pathlib.Path) -> dict[str, np.ndarray]:
    """Everything that goes into person.npz; see `synthetic_mesh.load_person` for the reader."""
    folder = facekit / "FaceXModel"
    verts, uvs, polygons = _read_mesh(folder / "generic_neutral_mesh.obj")
    margins = _lid_margins(verts, polygons["M_EyeLashes"], 9409)
    quads, materials = [], []
    for name, number in MATERIALS.items():
        for polygon in polygons[name]:
            quads.append([*polygon, polygon[0]][:4] if len(polygon) == 3 else polygon)
            materials.append(number)
    corners = np.array(quads)  # [q 4 2]: vertex, uv
    kept = np.unique(corners[..., 0])
    renumber = np.full(len(verts), -1)
    renumber[kept] = np.arange(len(kept))
    pairs, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    n_expression = int(kept[kept < 21451].size)  # the eyeballs turn with the gaze and take no shapes
    neutral = verts[kept]

    def deltas(name: str, step: float) -> np.ndarray:
        moved = _read_vertices(folder / f"{name}.obj")[kept] - neutral
        return np.round(moved[:n_expression] / step).astype(np.int16)

    return {
        "verts": np.round(neutral / STEP_CM).astype(np.int16),
        "quads": inverse.reshape(-1, 4).astype(np.uint16),
        "quad_material": np.array(materials, np.uint8),
        "corner_vert": renumber[pairs[:, 0]].astype(np.uint16),
        "corner_uv": np.round((uvs[pairs[:, 1]] % 1.0) * 65535).astype(np.uint16),
        "expressions": _byte_planes(np.stack([deltas(name, DELTA_STEP_CM) for name in EXPRESSIONS])),
        "identities": _byte_planes(
            np.stack(
                [
                    np.round(
                        (_read_vertices(folder / f"identity{i:03d}.obj")[kept] - neutral) / IDENTITY_STEP_CM
                    )
                    for i in range(N_IDENTITY)
                ]
            ).astype(np.int16)
        ),
        "steps_cm": np.array([STEP_CM, DELTA_STEP_CM, IDENTITY_STEP_CM]),
        "expression_names": np.array(EXPRESSIONS),
        **{f"lid_{key}": renumber[index].astype(np.uint16) for key, index in margins.items()},
    }


def main() -> None:
    """Command line: writes embedded/person.npz and copies the model's licence beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--facekit", type=pathlib.Path, required=True, help="folder with FaceXModel/ and LICENSE"
    )
    facekit = parser.parse_args().facekit
    EMBEDDED.mkdir(exist_ok=True)
    np.savez_compressed(EMBEDDED / "person.npz", **pack(facekit))  # type: ignore[arg-type]
    shutil.copyfile(facekit / "LICENSE", EMBEDDED / "person_LICENSE.md")


if __name__ == "__main__":
    main()
