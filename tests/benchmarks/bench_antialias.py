"""Time of antialiasing beside visibility, same mesh, same run. Not a test: prints a table.

    python -m tests.benchmarks.bench_antialias [--repeats=60] [--size=256]

Milliseconds per frame, minima over alternated repeats; ratios to `rasterize(...).face_id` of the same mesh.
"""

from __future__ import annotations

from collections.abc import Callable

from absl import app, flags

FLAGS = flags.FLAGS
HEADS = {"10k": (57, 90), "20k": (80, 127), "70k": (148, 238)}
"""Rows and columns of the head mesh."""
CHANNELS = 3


def cases(rows: int, columns: int, size: int) -> dict[str, Callable[[], object]]:
    """What is timed, compiled on the first call: ids; antialias of an image of 3 channels; the same with its
    gradient to vertices and colors; all of it in one program from vertices to the gradient of a mask."""
    import jax
    import jax.numpy as jnp

    from talkjax.raster import Topology, antialias, rasterize
    from tests.raster.meshes import head_mesh, view

    verts, faces = head_mesh(rows, columns)
    clip, topology = jnp.asarray(view(verts)), Topology.from_faces(faces, len(verts))
    seen = jax.jit(lambda c: rasterize(c, topology, size, size))(clip)
    key = jax.random.key(0)
    color, weight = jax.random.uniform(key, (2, size, size, CHANNELS))
    ids = jax.jit(lambda c: rasterize(c, topology, size, size).face_id)
    smooth = jax.jit(lambda color, c, seen: antialias(color, c, seen, topology))

    @jax.jit
    def pulled(color, c, seen, weight):  # type: ignore[no-untyped-def]
        image, pull = jax.vjp(lambda color, c: antialias(color, c, seen, topology), color, c)
        return image, pull(weight)

    @jax.jit
    def whole(c):  # type: ignore[no-untyped-def]
        def area(c):  # type: ignore[no-untyped-def]
            seen = rasterize(c, topology, size, size)
            mask = (seen.face_id >= 0).astype(jnp.float32)[..., None]
            return antialias(mask, c, seen, topology).sum()

        return jax.value_and_grad(area)(c)

    return {
        "ids": lambda: ids(clip),
        "antialias": lambda: smooth(color, clip, seen),
        "antialias fwd+bwd": lambda: pulled(color, clip, seen, weight),
        "vertices to mask gradient": lambda: whole(clip),
    }


def main(argv: list[str]) -> None:
    del argv
    from tests.benchmarks.timing import alternated_minima

    times = {
        name: alternated_minima(cases(*shape, FLAGS.size), FLAGS.repeats) for name, shape in HEADS.items()
    }
    print(f"{FLAGS.size}x{FLAGS.size}, ms (over ids)" + "".join(f"{name:>18}" for name in times))
    for row in times["10k"]:
        cells = [f"{t[row]:.3f} ({t[row] / t['ids']:.2f})" for t in times.values()]
        print(f"{row:<26}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 60, "runs of each case; the fastest counts", lower_bound=1)
    flags.DEFINE_integer("size", 256, "image side, px", lower_bound=2)
    app.run(main)
