"""Share of a self-supervised training step that goes into the rasterizer.

    python -m tests.benchmarks.bench_reconstruction_step --model=FULL_HEAD.npz

Compares, alternating, steps with and without the photometric term, and the rasterizer's own forward pass
(visibility and barycentrics) on the same vertices. Minima of the repeats.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax
import jax.numpy as jnp

from launch.reconstruction import make_net
from talkjax.assets.model_file import load_model
from talkjax.config import ReconstructionConfig
from talkjax.data.face_shards import draw_group
from talkjax.data.reconstruction_rows import FRONT_SPACING, batch_of, face_measures
from talkjax.data.synthetic_faces import FaceStage
from talkjax.face.model import face_verts
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import to_clip
from talkjax.raster.rasterize import rasterize
from talkjax.tasks.reconstruction import ReconstructionTask

MODEL = flags.DEFINE_string("model", None, "full head of ICT-FaceKit with a texture, npz", required=True)
REPEATS = flags.DEFINE_integer("repeats", 10, "of each program")
WIDTH = flags.DEFINE_integer("width", 48, "of the network")
UNITS = flags.DEFINE_integer("units", 2, "preset small")
SPACING = flags.DEFINE_float("spacing", FRONT_SPACING, "dm, of the vertices that are drawn; 0: all")
PRESET = flags.DEFINE_string("preset", "small", "network")


def best(programs: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds of each, the least of alternating repeats."""
    for call in programs.values():
        jax.block_until_ready(call())
    seconds = dict.fromkeys(programs, np.inf)
    for _ in range(repeats):
        for name, call in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name] = min(seconds[name], time.perf_counter() - begin)
    return seconds


def main(argv: list[str]) -> None:
    del argv
    stage = FaceStage.of(load_model(Path(MODEL.value)))
    measures, side = face_measures(stage, SPACING.value), 112
    batch = batch_of(draw_group(stage, 0, 0, 128), len(stage.landmarks.number))
    config = ReconstructionConfig(preset=PRESET.value, width=WIDTH.value, units=UNITS.value)
    net = make_net(config, stage.model, jax.default_backend())
    programs = {}
    for name, factor in (("known terms only", 0.0), ("with photometric term", 1.0)):
        task = ReconstructionTask(net, side, 100, photometric=factor)
        state, step = task.init(), jax.jit(task.train_step)
        programs[name] = lambda step=step, state=state: step(state, batch, measures)
    view = task.look(batch, measures)

    @jax.jit
    def raster(euler: jax.Array) -> Any:
        verts = face_verts(measures.front, jnp.asarray(batch.id_coeffs), jnp.asarray(batch.exp_coeffs))
        verts = apply_pose(verts, view.pose.replace(euler=euler))
        clip = jax.vmap(lambda v, c: to_clip(v, c, side, side))(verts, view.camera)

        def depths(clip: jax.Array) -> jax.Array:
            seen = rasterize(clip, measures.topology, side, side)
            return jnp.sum(seen.bary[..., 0]) + jnp.sum(seen.depth)

        return jax.value_and_grad(depths)(clip)

    programs["rasterizer, both passes"] = lambda: raster(view.pose.euler)
    seconds = best(programs, REPEATS.value)
    n = len(batch.focal)
    for name, value in seconds.items():
        print(f"{name:28s}{1e3 * value / n:8.2f} ms a picture")
    share = seconds["rasterizer, both passes"] / seconds["with photometric term"]
    size = f"{measures.topology.n_faces} triangles, {side} px, batch {n}"
    print(f"{size}: rasterizer {100 * share:.0f} % of the step")


if __name__ == "__main__":
    app.run(main)
