"""How much of a silhouette's pull reaches the shape, against mesh density. Not a test: prints a table.

    python -m tests.benchmarks.bench_silhouette [--out=DIR] [--views=3]

Percent of the true change of area (or first moment) that the gradient of an antialiased mask has: ours, and
the usual pixel-driven rule (a re-implementation, see pixel_driven.py). Truth: float64 differences of the
outline. 256x256; the worst and the mean of several views of a head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "folder for silhouette.png; none: print only")
flags.DEFINE_integer("views", 3, "number of head turns", lower_bound=1)
SIZE = 256
DENSITIES = ((9, 7), (13, 12), (23, 23), (39, 40), (57, 90), (80, 127), (148, 238))
"""Rows and columns of the head mesh: 112 to 69,972 triangles."""


def measure(rows: int, columns: int, yaws: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of triangles, and percent recovered [view, quantity] by ours and by the pixel-driven rule."""
    import jax.numpy as jnp

    from talkjax.raster import Topology, antialias
    from tests.benchmarks.pixel_driven import antialias_pixel_driven, opposite_verts
    from tests.raster.meshes import head_mesh, view
    from tests.raster.outline import gradient_of, true_changes

    verts, faces = head_mesh(rows, columns)
    opposite = jnp.asarray(opposite_verts(faces))

    def pixel_driven(mask: Any, clip: Any, seen: Any, topology: Topology) -> Any:
        flat = jnp.asarray(topology.faces4)[:, :3]
        return antialias_pixel_driven(mask, clip, seen.face_id, seen.depth, flat, opposite)

    topology = Topology.from_faces(faces, len(verts))
    pulls = gradient_of(antialias, SIZE), gradient_of(pixel_driven, SIZE)
    shares: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for yaw in yaws:
        clip = view(verts, yaw)
        truth = true_changes(clip, faces, SIZE)
        for share, pull in zip(shares, pulls, strict=True):
            share.append(100 * np.asarray(pull(jnp.asarray(clip), topology)) / truth)
    return len(faces), np.array(shares[0]), np.array(shares[1])


def draw(path: Path, counts: list[int], ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """The curve of d(area)/d(scale)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    axes.axhspan(98, 102, color="0.9", label="within 2 %")
    for name, shares, style in (
        ("talkjax: the mesh's silhouette edges", ours, "o-"),
        ("pixel-driven rule (re-implementation)", theirs, "s--"),
    ):
        values = np.array([s[:, 0] for s in shares])
        axes.plot(counts, values.mean(1), style, label=name)
        axes.fill_between(counts, values.min(1), values.max(1), alpha=0.2)
    axes.set(xscale="log", ylim=(0, 110), xlabel="triangles (head, 256x256)")
    axes.set_ylabel("d(area)/d(scale) recovered, %")
    axes.legend(frameon=False, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main(argv: list[str]) -> None:
    del argv
    from tests.raster.outline import QUANTITIES

    yaws = np.linspace(-0.6, 0.9, FLAGS.views) if FLAGS.views > 1 else np.array([0.3])
    print("recovered, %: ours mean (worst) | pixel-driven rule (re-implementation) mean")
    print(f"{'triangles':>10}" + "".join(f"{q:>26}" for q in QUANTITIES))
    counts, ours, theirs = [], [], []
    for rows, columns in DENSITIES:
        count, own, other = measure(rows, columns, yaws)
        cells = []
        for k in range(len(QUANTITIES)):
            worst = own[np.abs(own[:, k] - 100).argmax(), k]
            cells.append(f"{own[:, k].mean():.1f} ({worst:.1f}) | {other[:, k].mean():.1f}")
        print(f"{count:>10}" + "".join(f"{c:>26}" for c in cells), flush=True)
        counts.append(count)
        ours.append(own)
        theirs.append(other)
    if FLAGS.out:
        folder = Path(FLAGS.out)
        folder.mkdir(parents=True, exist_ok=True)
        draw(folder / "silhouette.png", counts, ours, theirs)


if __name__ == "__main__":
    app.run(main)
