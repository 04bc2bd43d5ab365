"""Meshes and views for the rasterizer's tests."""

from __future__ import annotations

import numpy as np

from talkjax.raster import Topology


def head_mesh(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy ellipsoid with a nose: verts [v 3], faces [f 3], outward counter-clockwise.

    2 columns (rows - 1) triangles; `rows` bands from pole to pole, of which the first and the last are fans.
    """
    theta = np.linspace(0, np.pi, rows + 1)[1:-1, None]
    phi = (np.arange(columns) * 2 * np.pi / columns)[None]
    rings = np.stack(
        np.broadcast_arrays(np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)), -1
    ).reshape(-1, 3)
    directions = np.concatenate([[[0, 1, 0]], rings, [[0, -1, 0]]])
    radius = (
        1 + 0.05 * np.sin(7 * directions[:, 0] + 3 * directions[:, 1]) + 0.02 * np.sin(13 * directions[:, 2])
    )
    radius += 0.25 * np.exp(-(1 - directions @ [0, -0.1, 0.995]) / 0.02)
    here = np.arange(columns)
    right, last = (here + 1) % columns, len(directions) - 1
    ring = 1 + columns * np.arange(rows - 2)[:, None]
    a, b = ring + here, ring + right
    bands = np.stack([a, b, a + columns, b, b + columns, a + columns], -1)
    top = np.stack([np.zeros_like(here), 1 + right, 1 + here], -1)
    bottom = np.stack([np.full_like(here, last), last - columns + here, last - columns + right], -1)
    caps = np.stack([top, bottom], 1)
    faces = np.concatenate([bands.reshape(-1, 3), caps.reshape(-1, 3)]).astype(np.int32)
    return directions * radius[:, None] * [0.78, 1.0, 0.9], faces


HEADS = {10_000: (57, 90), 20_000: (80, 127), 70_000: (148, 238)}
"""Rows and columns of the three heads that requirements and benchmarks speak of."""


def head(n_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """The head of about `n_faces` triangles (a key of HEADS: 10,080, 20,066 and 69,972): verts, faces."""
    return head_mesh(*HEADS[n_faces])


def head_views(verts: np.ndarray, n_frames: int) -> np.ndarray:
    """Clip coordinates [n v 4] of a head that fills about half of the image and turns from frame to frame."""
    yaws = 0.3 + 0.25 * np.arange(n_frames) - 0.9 * (np.arange(n_frames) % 2)
    return np.stack([view(verts, yaw) for yaw in yaws])


def view(verts: np.ndarray, yaw: float = 0.3, distance: float = 3.6, zoom: float = 2.75) -> np.ndarray:
    """Clip coordinates [v 4] float32 of a perspective view from the +z axis."""
    c, s = np.cos(yaw), np.sin(yaw)
    p = verts @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    w, near, far = distance - p[:, 2], 0.1, 10.0
    z = ((far + near) * w - 2 * far * near) / (far - near)
    return np.stack([zoom * p[:, 0], zoom * p[:, 1], z, w], -1).astype(np.float32)


def soup(seed: int, n_verts: int, n_faces: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Random overlapping triangles with varying w; `spread` 1 fills the image, more goes beyond it."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.5, 2.0, (n_verts, 1))
    ndc = np.concatenate(
        [
            rng.uniform(-spread, spread, (n_verts, 2)),
            rng.uniform(-0.9, 0.9, (n_verts, 1)),
            np.ones((n_verts, 1)),
        ],
        1,
    )
    return (ndc * w).astype(np.float32), rng.integers(0, n_verts, (n_faces, 3)).astype(np.int32)


def on_grid(points_px: np.ndarray, height: int, width: int, depth: float = 0.0) -> np.ndarray:
    """Clip coordinates whose snapped positions are exactly `points_px` (x, y; multiples of 1/256 px)."""
    points_px = np.asarray(points_px, np.float64)
    x, y = 2 * points_px[:, 0] / width - 1, 1 - 2 * points_px[:, 1] / height
    return np.stack([x, y, np.full_like(x, depth), np.ones_like(x)], -1).astype(np.float32)


MAX_VERTS, MAX_FACES = 2400, 2400
"""Test meshes are padded to this, so that most tests share one compiled rasterizer."""


def padded(clip: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same picture with vertices behind the camera and empty triangles added at the end."""
    more_verts = np.zeros((MAX_VERTS - len(clip), 4), np.float32)
    more_faces = np.zeros((MAX_FACES - len(faces), 3), np.int32)
    return np.concatenate([clip, more_verts]).astype(np.float32), np.concatenate([faces, more_faces]).astype(
        np.int32
    )


def padded_topology(faces: np.ndarray, n_verts: int, n_faces: int, n_edges: int) -> Topology:
    """Empty faces and absent edges are added: meshes of one size share a program."""
    faces = np.pad(faces, ((0, n_faces - len(faces)), (0, 0))).astype(np.int32)
    topology = Topology.from_faces(faces, n_verts)
    edges, missing = topology.edges, n_edges - len(topology.edges.verts)
    return topology.replace(
        edges=edges.replace(
            verts=np.pad(edges.verts, ((0, missing), (0, 0))),
            faces=np.pad(edges.faces, ((0, 0), (0, missing)), constant_values=n_faces),
            same_way=np.pad(edges.same_way, (0, missing)),
        )
    )
