"""The rasterizer against C++ peers, same meshes, same run. Not a test: prints tables, draws curves.

    python -m tests.benchmarks.bench_raster [--repeats=40] [--out=DIR] [--one_core]

Every figure is the minimum over alternated repeats, milliseconds per frame; ratios below 1 mean that talkjax
is faster. The peers (tests/benchmarks/peers, written for this project, one thread) are compiled here with -O3
-march=native; without a compiler their rows are left out, and the table says so. `--one_core` pins the whole
process to one core.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("repeats", 40, "runs of each case; the fastest counts", lower_bound=1)
flags.DEFINE_string("out", None, "folder for raster.json and raster.png; none: print only")
flags.DEFINE_bool("one_core", False, "use a single core")
flags.DEFINE_bool("curves", True, "also measure the curves against triangles, pixels and batch")

DENSITIES = {"10k": (57, 90), "20k": (80, 127), "70k": (148, 238)}
"""Name -> rows and columns of the head mesh: 10,080, 20,066 and 69,972 triangles, as in the study."""
SIZE = 256


def head(rows: int, columns: int, batch: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Clip vertices `[b v 4]` of a head seen from several sides, and its faces."""
    from tests.raster.meshes import head_mesh, view

    verts, faces = head_mesh(rows, columns)
    clip = np.stack([view(verts, yaw=0.3 + 0.25 * k - 0.9 * (k % 2)) for k in range(batch)])
    return np.ascontiguousarray(clip, np.float32), np.ascontiguousarray(faces, np.int32)


class Cases:
    """What is timed on one mesh and image size: compiled functions of talkjax, and the peers."""

    def __init__(self, rows: int, columns: int, size: int, compiler: str | None):
        import jax
        import jax.numpy as jnp

        from talkjax.raster.antialias import antialias
        from talkjax.raster.rasterize import locate, rasterize
        from talkjax.raster.topology import Topology
        from tests.benchmarks.peers import Peers

        self.clip, self.faces = head(rows, columns, batch=8)
        topology = Topology.from_faces(self.faces, self.clip.shape[1])
        draw = partial(rasterize, topology=topology, height=size, width=size)
        one, eight = jnp.asarray(self.clip[0]), jnp.asarray(self.clip)
        self.ids = jax.jit(lambda c: draw(c).face_id)
        self.culled = jax.jit(lambda c: draw(c, cull=True).face_id)
        self.fragments = jax.jit(lambda c: draw(c))
        fragments = self.fragments(one)
        rng = np.random.default_rng(0)
        grad_bary = rng.standard_normal((size, size, 3)).astype(np.float32)
        color = jnp.asarray(rng.uniform(size=(size, size, 4)).astype(np.float32))
        faces4 = jnp.asarray(topology.faces4)

        def bary(clip: Any, ids: Any) -> Any:
            return locate(clip[None], ids[None], faces4)[0][0]

        @jax.jit
        def bary_both(clip: Any, ids: Any, grad: Any) -> Any:
            value, pull = jax.vjp(lambda c: bary(c, ids), clip)
            return value, pull(grad)[0]

        bary_forward = jax.jit(bary)

        smooth = jax.jit(lambda col, c, f: antialias(col, c, f, topology))
        pulled = jax.jit(
            lambda col, c, f: jax.value_and_grad(
                lambda col, c: jnp.vdot(antialias(col, c, f, topology), color), argnums=(0, 1)
            )(col, c)
        )
        grad = jnp.asarray(grad_bary)
        self.run: dict[str, Callable[[], object]] = {
            "ids": lambda: self.ids(one),
            "ids culled": lambda: self.culled(one),
            "ids+bary+depth": lambda: self.fragments(one),
            "ids, batch 8": lambda: self.ids(eight),
            "bary forward": lambda: bary_forward(one, fragments.face_id),
            "bary fwd+bwd": lambda: bary_both(one, fragments.face_id, grad),
            "antialias": lambda: smooth(color, one, fragments),
            "antialias fwd+bwd": lambda: pulled(color, one, fragments),
        }
        if compiler is not None:
            peers = Peers(compiler, size, size, self.clip.shape[1])
            ids = np.ascontiguousarray(fragments.face_id, np.int32)
            self.run |= {
                "peer: published kind": lambda: peers.published_kind(self.clip[0], self.faces),
                "peer: screen space": lambda: peers.screen_space(self.clip[0], self.faces),
                "peer: tuned ids": lambda: peers.tuned_ids(self.clip[0], self.faces),
                "peer: bary backward": lambda: peers.bary_backward(self.clip[0], self.faces, ids, grad_bary),
            }
            self.check(peers, ids, np.asarray(bary_both(one, fragments.face_id, grad)[1]), grad_bary)

    def check(self, peers: Any, ids: np.ndarray, own_grad: np.ndarray, grad_bary: np.ndarray) -> None:
        """The peers must do the same work: same picture but for edge pixels, same gradient."""
        peers.published_kind(self.clip[0], self.faces)
        off_published = int((peers.ids != ids).sum())
        peers.tuned_ids(self.clip[0], self.faces)
        off_tuned = int((peers.ids != ids).sum())
        theirs = peers.bary_backward(self.clip[0], self.faces, ids, grad_bary)
        # slivers amplify rounding without bound, so the typical seen vertex is compared
        seen = theirs[:, :2].any(-1)
        error = np.linalg.norm(theirs - own_grad, axis=-1) / (np.linalg.norm(theirs, axis=-1) + 1e-6)
        median = float(np.median(error[seen]))
        print(
            f"  pixels unlike talkjax: published kind {off_published}, tuned {off_tuned}; "
            f"gradient off by {median:.1e}"
        )
        assert off_tuned <= ids.size / 5000 and off_published <= ids.size / 500 and median < 1e-3

    def compiled(self) -> tuple[float, float]:
        """Seconds to compile ids, and its temporary memory in MB."""
        import jax

        fresh = jax.jit(lambda c: self.ids(c) + 0)
        start = time.perf_counter()
        compiled = fresh.lower(jax.ShapeDtypeStruct(self.clip[0].shape, np.float32)).compile()
        seconds = time.perf_counter() - start
        return seconds, compiled.memory_analysis().temp_size_in_bytes / 2**20


RATIOS = (
    ("ids / published kind", "ids", "peer: published kind", 1, (0.6, 0.6, 0.8)),
    ("ids+bary+depth / published kind", "ids+bary+depth", "peer: published kind", 1, (0.8, 0.7, 0.9)),
    ("ids+bary+depth / screen space", "ids+bary+depth", "peer: screen space", 1, (None, None, None)),
    ("ids / tuned C++ (aim)", "ids", "peer: tuned ids", 1, (1.5, 1.5, 1.5)),
    ("ids, batch 8 per frame / batch 1", "ids, batch 8", "ids", 8, (1.15, 1.15, 1.15)),
    (
        "bary backward / C++ backward",
        "bary backward (fwd+bwd - fwd)",
        "peer: bary backward",
        1,
        (1.1, 1.1, 1.1),
    ),
    ("antialias / ids", "antialias", "ids", 1, (0.6, None, None)),
    ("antialias fwd+bwd / ids", "antialias fwd+bwd", "ids", 1, (1.3, None, None)),
)
"""Row, numerator, denominator, frames in the numerator, wanted at 10k / 20k / 70k."""


def table(compiler: str | None) -> dict[str, Any]:
    """Measures all cases at the three densities and prints milliseconds and ratios."""
    from tests.benchmarks.timing import alternated_minima

    result: dict[str, Any] = {"ms": {}, "compile_s": {}, "temp_mb": {}}
    for name, (rows, columns) in DENSITIES.items():
        print(f"{name}: {2 * columns * (rows - 1)} triangles, {SIZE}x{SIZE}", flush=True)
        cases = Cases(rows, columns, SIZE, compiler)
        result["compile_s"][name], result["temp_mb"][name] = cases.compiled()
        ms = alternated_minima(cases.run, FLAGS.repeats)
        ms["bary backward (fwd+bwd - fwd)"] = ms["bary fwd+bwd"] - ms["bary forward"]
        result["ms"][name] = ms
    print(f"\n{'ms per call':36}" + "".join(f"{name:>10}" for name in DENSITIES))
    for case in result["ms"]["10k"]:
        print(f"{case:36}" + "".join(f"{result['ms'][name][case]:10.3f}" for name in DENSITIES))
    print(f"\n{'ratio':36}" + "".join(f"{name:>10}" for name in DENSITIES) + "   wanted")
    result["ratios"] = {}
    for row, over, under, frames, wanted in RATIOS:
        if compiler is None and under.startswith("peer"):
            print(f"{row:36}   omitted: no C++ compiler")
            continue
        ratio = {name: ms[over] / ms[under] / frames for name, ms in result["ms"].items()}
        result["ratios"][row] = ratio
        goals = " / ".join("-" if w is None else f"{w:g}" for w in wanted)
        print(f"{row:36}" + "".join(f"{ratio[name]:10.2f}" for name in DENSITIES) + f"   {goals}")
    print(f"{'compile, s':36}" + "".join(f"{result['compile_s'][n]:10.2f}" for n in DENSITIES) + "   2")
    print(
        f"{'temporary memory, MB':36}" + "".join(f"{result['temp_mb'][n]:10.2f}" for n in DENSITIES) + "   8"
    )
    return result


def curves(compiler: str | None) -> dict[str, Any]:
    """Cost against triangles (256x256), pixels (10k triangles) and batch (10k, per frame)."""
    import jax.numpy as jnp

    from tests.benchmarks.timing import alternated_minima

    shown = ("ids", "ids+bary+depth", "peer: published kind", "peer: tuned ids")

    def measure(rows: int, columns: int, size: int) -> dict[str, float]:
        cases = Cases(rows, columns, size, compiler).run
        return alternated_minima({k: v for k, v in cases.items() if k in shown}, max(FLAGS.repeats // 2, 5))

    triangles = {}
    for columns in (10, 20, 40, 90, 127, 180, 238):
        rows = round(columns * 0.62) + 1
        triangles[2 * columns * (rows - 1)] = measure(rows, columns, SIZE)
    pixels = {size * size: measure(*DENSITIES["10k"], size) for size in (64, 128, 256, 512, 1024)}
    cases = Cases(*DENSITIES["10k"], SIZE, None)
    batch = {}
    for n in (1, 2, 4, 8, 16):
        frames = jnp.asarray(np.concatenate([cases.clip] * 2)[:n])
        best = alternated_minima({"ids": lambda f=frames: cases.ids(f)}, max(FLAGS.repeats // 2, 5))
        batch[n] = {"ids": best["ids"] / n}
    return {"triangles": triangles, "pixels": pixels, "batch": batch}


def draw(result: dict[str, Any], path: Path) -> None:
    """The three curves beside each other."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    titles = {
        "triangles": "256x256 px",
        "pixels": "10,080 triangles",
        "batch": "10,080 triangles, 256x256 px",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        points = result["curves"][name]
        for case in next(iter(points.values())):
            style = "--" if case.startswith("peer") else "-"
            axis.plot(list(points), [p[case] for p in points.values()], style, marker="o", ms=3, label=case)
        axis.set(xlabel=name, ylabel="ms per frame", title=title, xscale="log", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[2].set(yscale="linear", ylim=(0, None))
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    import talkjax  # noqa: F401  XLA switch before JAX starts
    from tests.benchmarks.peers import find_compiler

    compiler = find_compiler()
    cores = len(os.sched_getaffinity(0))
    print(f"jax {jax.__version__}, {platform.machine()}, {cores} core(s), compiler: {compiler or 'none'}")
    result = table(compiler)
    if FLAGS.curves and not FLAGS.one_core:
        result["curves"] = curves(compiler)
    if FLAGS.out:
        folder = Path(FLAGS.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("raster_one_core.json" if FLAGS.one_core else "raster.json")).write_text(
            json.dumps(result, indent=1)
        )
        if "curves" in result:
            draw(result, folder / "raster.png")


if __name__ == "__main__":
    app.run(main)
