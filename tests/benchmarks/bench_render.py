"""Frames per second of the face renderer on a prepared identity's own frames. Not a test: prints a table.

    python -m tests.benchmarks.bench_render --identity=me [--identities_dir=DIR] [--batch=8] [--repeats=2]

Training and held-out frames, each in its own head crop as tracked; coefficients to image, mask, depth
and uv. The best of `repeats` passes over all frames; the results stay on the device. `layers` is what
`generate` uses: one frame at a time, three textures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("identity", None, "a prepared identity", required=True)
flags.DEFINE_string("identities_dir", None, "folder of all identities")
flags.DEFINE_integer("batch", 8, "frames per call", lower_bound=1)
flags.DEFINE_integer("repeats", 2, "passes over all frames; the fastest counts", lower_bound=1)
flags.DEFINE_list("sizes", ["256", "512"], "image sides, px")


def frames_per_second(n_frames: int, batch: int, draw: Callable[[slice], Any], repeats: int) -> float:
    """Of the fastest of `repeats` passes over all frames; a last, shorter batch is moved to full length."""
    import jax

    starts = [min(k, n_frames - batch) for k in range(0, n_frames, batch)]
    jax.block_until_ready(draw(slice(0, batch)))  # compiles
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for k in starts:
            jax.block_until_ready(draw(slice(k, k + batch)))
        times.append(time.perf_counter() - start)
    return n_frames / min(times)


def main(argv: list[str]) -> None:
    del argv
    import jax
    import jax.numpy as jnp

    from talkjax.cli.heap import keep_freed_memory
    from talkjax.face.render import render_faces, render_layers
    from talkjax.infer.person import join_segments, load_segment
    from talkjax.infer.personal import HELD_OUT, open_person
    from talkjax.track.crop import stack_cameras
    from talkjax.track.identity import Identity
    from talkjax.types import Pose

    keep_freed_memory()  # as every command does
    identity = Identity.open(FLAGS.identity, FLAGS.identities_dir)
    person = open_person(identity)
    heldout = load_segment(*(identity.require_stage(name, verb="prepare") for name in HELD_OUT))
    frames = join_segments(person.train, heldout)
    crops = person.crops(frames.pose)
    texture = jnp.asarray(person.texels.image(person.bank.mean))
    layers = jnp.concatenate([texture] * 3, axis=-1)
    exp, sh = jnp.asarray(frames.exp), jnp.asarray(frames.sh)
    pose = Pose(jnp.asarray(frames.euler), jnp.asarray(frames.translation))
    print(f"{len(frames)} frames, {person.renderer.topology.n_faces} triangles, texture {texture.shape[0]}")
    print(f"{'frames per second':<34}" + "".join(f"{s + ' px':>10}" for s in FLAGS.sizes))
    table: dict[str, list[float]] = {}
    for size in map(int, FLAGS.sizes):
        cameras = stack_cameras(person.camera, crops, size)

        def batched(which: slice, albedo: Any, smooth: bool, size: int = size, cameras: Any = cameras) -> Any:
            own = jax.tree.map(lambda x: x[which], (exp, pose, sh, cameras))
            return render_faces(person.renderer, *own[:3], albedo, own[3], size, smooth)

        def single(which: slice, size: int = size, cameras: Any = cameras) -> Any:
            own = jax.tree.map(lambda x: x[which.start], (exp, pose, sh, cameras))
            return render_layers(person.renderer, *own[:3], layers, own[3], size)

        rows = {
            "clay": lambda k, f=batched: f(k, None, False),
            "clay, antialiased": lambda k, f=batched: f(k, None, True),
            "textured": lambda k, f=batched: f(k, texture, False),
            "textured, antialiased": lambda k, f=batched: f(k, texture, True),
        }
        for name, draw in rows.items():
            speed = frames_per_second(len(frames), FLAGS.batch, draw, FLAGS.repeats)
            table.setdefault(f"{name} (batches of {FLAGS.batch})", []).append(speed)
        speed = frames_per_second(len(frames), 1, single, FLAGS.repeats)
        table.setdefault("layers, 3 textures, one by one", []).append(speed)
    for name, speeds in table.items():
        print(f"{name:<34}" + "".join(f"{s:>10.0f}" for s in speeds))


if __name__ == "__main__":
    app.run(main)
