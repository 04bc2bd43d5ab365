"""Draws the picture sheet of the rasterizer's documentation. Not a test.

    python -m tests.benchmarks.raster_sheet --out=DIR      # writes DIR/raster_sheet.png

A head of 10,080 triangles: triangle ids, barycentrics, depth, the image; an outline enlarged, without
and with antialiasing; and how the image changes with a shift to the right, without and with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "folder for raster_sheet.png", required=True)
SIZE = 256
BOX = (206, 122, 32)
"""Left, top and side of the enlarged part, px."""


def panels() -> dict[str, np.ndarray]:
    """Title -> picture: [h w 3] in [0, 1], or [h w] for signed changes."""
    import jax
    import jax.numpy as jnp

    from talkjax.face.model import vertex_normals
    from talkjax.raster import Topology, antialias, interpolate, rasterize
    from tests.raster.meshes import head, view

    verts, faces = head(10_000)
    topology = Topology.from_faces(faces, len(verts))
    clip = jnp.asarray(view(verts, yaw=0.75))
    toward_light = np.array([0.1, 0.5, 0.86])
    shade = np.asarray(vertex_normals(jnp.asarray(verts, jnp.float32), faces)) @ toward_light
    colors = np.array([0.3, 0.22, 0.2]) + np.clip(0.35 + 0.65 * shade, 0, 1)[:, None] * np.array(
        [0.6, 0.5, 0.42]
    )
    background = jnp.array([0.1, 0.14, 0.22])

    def draw(shift: Any, smooth: bool) -> tuple[Any, Any]:
        moved = clip.at[:, 0].add(2 / SIZE * shift * clip[:, 3])
        seen = rasterize(moved, topology, SIZE, SIZE)
        color = interpolate(jnp.asarray(colors, jnp.float32), seen, topology)
        image = jnp.where((seen.face_id >= 0)[..., None], color, background)
        return (antialias(image, moved, seen, topology) if smooth else image), seen

    hard, seen = jax.jit(lambda: draw(0.0, False))()
    smooth, _ = jax.jit(lambda: draw(0.0, True))()
    change = {
        kind: np.asarray(jax.jit(lambda k=kind: jax.jvp(lambda s: draw(s, k)[0], (0.0,), (1.0,))[1])()).mean(
            -1
        )
        for kind in (False, True)
    }
    ids, on = np.asarray(seen.face_id), np.asarray(seen.face_id) >= 0
    dark = np.asarray(background)
    palette = np.random.default_rng(1).uniform(0.25, 1.0, (len(faces), 3))
    depth = np.asarray(seen.depth)
    low, high = depth[on].min(), depth[on].max()
    gray = np.repeat((1 - 0.85 * (depth - low) / (high - low))[..., None], 3, axis=-1)
    left, top, side = BOX
    part = np.s_[top : top + side, left : left + side]
    return {
        "triangle ids": np.where(on[..., None], palette[ids], dark),
        "barycentrics": np.where(on[..., None], np.asarray(seen.bary).clip(0, 1), dark),
        "depth": np.where(on[..., None], gray, dark),
        "image, antialiased": np.asarray(smooth),
        "outline, not antialiased": np.asarray(hard)[part],
        "outline, antialiased": np.asarray(smooth)[part],
        "change with a shift: not antialiased": change[False],
        "change with a shift: antialiased": change[True],
    }


def main(argv: list[str]) -> None:
    del argv
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(12.8, 6.7), layout="constrained")
    for axis, (title, picture) in zip(axes.ravel(), panels().items(), strict=True):
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
        if picture.ndim == 2:
            axis.imshow(picture, cmap="RdBu_r", vmin=-0.25, vmax=0.25, interpolation="nearest")
        else:
            axis.imshow(picture.clip(0, 1), interpolation="nearest")
    left, top, side = BOX
    frame = plt.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="white", linewidth=1.2)
    axes[0, 3].add_patch(frame)
    folder = Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "raster_sheet.png", dpi=110)


if __name__ == "__main__":
    app.run(main)
