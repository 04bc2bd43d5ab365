"""What training the small reconstruction network costs where faces are drawn as needed: drawing, step, loop.

    python -m tests.benchmarks.bench_reconstruction_pool --model=FULL_HEAD.npz --seconds=10

The loop is that of `launch.train` with `configs/reconstruction_synthetic.py:device`: the feed's thread draws
and takes rows, the step runs meanwhile. The last line says how many steps fit into five minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax
import jax.numpy as jnp

from launch.reconstruction import make_net
from talkjax.assets.model_file import load_model
from talkjax.config import ReconstructionConfig
from talkjax.data.drawn_pool import draw_rows, drawn_pool
from talkjax.data.face_shards import MARGIN
from talkjax.data.reconstruction_rows import face_measures
from talkjax.data.synthetic_faces import FaceStage
from talkjax.tasks.reconstruction import ReconstructionTask
from talkjax.train import sharding
from talkjax.train.feed import Feed

MODEL = flags.DEFINE_string("model", None, "full head of ICT-FaceKit with a texture, npz", required=True)
BATCH = flags.DEFINE_integer("batch", 256, "pictures a step, and faces drawn at once")
REUSE = flags.DEFINE_integer("reuse", 4, "how often a face is used")
WIDTH = flags.DEFINE_integer("width", 48, "of the network")
UNITS = flags.DEFINE_integer("units", 2, "of the network's first stage")
SECONDS = flags.DEFINE_float("seconds", 10.0, "for which the loop runs")
DTYPE = flags.DEFINE_string("dtype", "auto", "of the network's arithmetic")
SIZE = flags.DEFINE_integer("size", 128, "side of the drawn pictures, px")


def seconds_each(call: Callable[[], Any], limit: float) -> float:
    """Of one call in a row of calls, after the first."""
    jax.block_until_ready(call())
    begin, count, last = time.perf_counter(), 0, None
    while time.perf_counter() - begin < limit or count < 2:
        last, count = call(), count + 1
        if count % 4 == 0:
            jax.block_until_ready(last)
    jax.block_until_ready(last)
    return (time.perf_counter() - begin) / count


def main(argv: list[str]) -> None:
    del argv
    begin = time.perf_counter()

    def tell(text: str) -> None:
        print(f"{time.perf_counter() - begin:6.1f} s  {text}", flush=True)

    batch, stage = BATCH.value, FaceStage.of(load_model(Path(MODEL.value)))
    measures = face_measures(stage)
    config = ReconstructionConfig(width=WIDTH.value, units=UNITS.value, compute_dtype=DTYPE.value)
    net = make_net(config, stage.model, jax.default_backend())
    task = ReconstructionTask(net, round(SIZE.value / MARGIN), 100, 3e-3)
    tell(f"{jax.devices()[0].device_kind}, batch {batch}, {len(stage.regions.faces)} triangles, {net.dtype}")
    source = drawn_pool(stage, SIZE.value, batch, 0, 8 * batch, REUSE.value, (0, 1))
    draw = seconds_each(
        lambda: draw_rows(stage, jax.random.key(0), source.group, SIZE.value), SECONDS.value / 5
    )
    tell(f"drawing: {1e3 * draw:.2f} ms for {source.group} faces, {source.group / draw:.0f} faces/s")
    rows = next(source.batches(0))
    step = jax.jit(task.train_step, donate_argnums=0)
    state = [jax.tree.map(jnp.copy, task.init())]  # the average begins as the same arrays: no donating twice

    def train(rows: Any) -> Any:
        state[0], metrics = step(state[0], rows, measures)
        return metrics

    alone = seconds_each(lambda: train(rows), SECONDS.value / 5)
    tell(f"step: {1e3 * alone:.2f} ms, {batch / alone:.0f} samples/s")
    mesh = sharding.make_mesh(sharding.MeshShape(1), jax.devices()[:1])
    feed = Feed(source, 0, sharding.batch_shardings(mesh, source.spec), sharding.Rows(0, 1))
    host = [0.0]

    def loop() -> Any:
        since = time.perf_counter()
        metrics = train(feed.next())
        host[0] += time.perf_counter() - since
        return metrics

    for _ in range(2 * REUSE.value):
        jax.block_until_ready(loop())
    both = seconds_each(loop, SECONDS.value)
    expected = draw / REUSE.value * batch / source.group + alone
    tell(
        f"loop: {1e3 * both:.2f} ms a step ({1e3 * expected:.2f} as the sum of its parts), "
        f"{batch / both:.0f} samples/s"
    )
    memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    tell(f"memory at its highest {memory / 2**30:.1f} GiB; steps in 300 s: {300 / both:.0f}")
    feed.close()


if __name__ == "__main__":
    app.run(main)
