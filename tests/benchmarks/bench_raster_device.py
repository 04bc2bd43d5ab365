"""The rasterizer on whatever accelerator is at hand: right ids first, then milliseconds. Not a test.

    python -m tests.benchmarks.bench_raster_device [--faces=10000,20000,70000] [--sizes=256,512]
        [--batches=1,8,64] [--forms=loops,static] [--parts=ids,fragments,gradient] [--repeats=5]
        [--trace_dir=DIR]

Checks every form's ids against 64-bit integer numpy, then prints minima over repeats of ten calls in a row:
milliseconds per call and microseconds per frame. `fragments` is ids, barycentrics and depth; `gradient` is
that and the gradient of a sum over it to the vertices. The form `loops` is timed for ids up to 8 frames only:
it waits for the host once per loop and frame. With --trace_dir a trace of one case is written there and its
kernels are summed up.

Needs jax, numpy, flax, jaxtyping and absl-py only. Heads are those of tests/raster/meshes.py.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import gzip
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from talkjax.raster.rasterize import rasterize
from talkjax.raster.topology import Topology
from tests.oracles import raster_oracle
from tests.raster.meshes import HEADS, head, head_views

FLAGS = flags.FLAGS
flags.DEFINE_list("faces", [str(n) for n in HEADS], "head meshes by number of triangles")
flags.DEFINE_list("sizes", ["256", "512"], "image sides, px")
flags.DEFINE_list("batches", ["1", "8", "64"], "frames per call")
flags.DEFINE_list("forms", None, "forms of visibility; default: loops and the platform's own")
flags.DEFINE_list("parts", ["ids", "fragments", "gradient"], "what is timed")
flags.DEFINE_integer("repeats", 5, "runs of ten calls; the fastest counts", lower_bound=1)
flags.DEFINE_integer("compile_threads", 8, "programs compiled at the same time", lower_bound=1)
flags.DEFINE_string("trace_dir", None, "folder for a profiler trace of the case with most frames and faces")

CALLS = 10
Case = tuple[int, int, int, str, str]
"""Triangles, size, frames, form, part."""


@functools.cache
def _mesh(n_faces: int, n_frames: int) -> tuple[np.ndarray, Topology, np.ndarray]:
    verts, faces = head(n_faces)
    return head_views(verts, n_frames), Topology.from_faces(faces, len(verts)), faces


def _program(topology: Topology, size: int, form: str, part: str) -> Callable[[jax.Array], Any]:
    def fragments(clips: jax.Array) -> Any:
        return rasterize(clips, topology, size, size, backend=form)

    def total(clips: jax.Array) -> jax.Array:
        seen = fragments(clips)
        return (seen.bary * jnp.arange(1.0, 4.0)).sum() + seen.depth.sum()

    parts = {
        "ids": lambda clips: fragments(clips).face_id,
        "fragments": fragments,
        "gradient": jax.grad(total),
    }
    return parts[part]


def _cases() -> Iterator[Case]:
    own = {"cpu": "loops", "gpu": "static", "tpu": "pallas"}.get(jax.default_backend(), "loops")
    forms = FLAGS.forms or sorted({"loops", own})
    numbers = ([int(n) for n in flag] for flag in (FLAGS.faces, FLAGS.sizes, FLAGS.batches))
    for case in itertools.product(*numbers, forms, FLAGS.parts):
        *_, n_frames, form, part = case
        if form == "loops" and own != "loops" and (part != "ids" or n_frames > 8):
            continue
        yield case


def _compiled(case: Case) -> tuple[Any, float]:
    n_faces, size, n_frames, form, part = case
    clips, topology, _ = _mesh(n_faces, n_frames)
    start = time.perf_counter()
    shape = jax.ShapeDtypeStruct(clips.shape, jnp.float32)
    program = jax.jit(_program(topology, size, form, part)).lower(shape).compile()
    return program, time.perf_counter() - start


def _check(case: Case, program: Any) -> str:
    """Wrong coverage and wrong ids of the first and the last frame; both must be few and far between."""
    n_faces, size, n_frames, _, _ = case
    clips, _, faces = _mesh(n_faces, n_frames)
    ids = np.asarray(program(jnp.asarray(clips)))
    coverage = wrong = 0
    for k in {0, n_frames - 1}:
        expected, nearest, second = raster_oracle.face_ids(clips[k], faces, size, size)
        coverage += int(((ids[k] >= 0) != (expected >= 0)).sum())
        differs = ids[k] != expected
        wrong = max(wrong, int(differs.sum()))
        if (second[differs] - nearest[differs] > 1e-5).any():
            return "WRONG: ids differ where depths do not nearly tie"
    return f"coverage errors {coverage}, ids that differ at near ties {wrong} of {size * size}"


def _milliseconds(program: Any, clips: jax.Array) -> float:
    jax.block_until_ready(program(clips))
    times = []
    for _ in range(FLAGS.repeats):
        start = time.perf_counter()
        for _ in range(CALLS):
            result = program(clips)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - start) / CALLS)
    return 1000 * min(times)


def _print_trace(folder: str, program: Any, clips: jax.Array) -> None:
    with jax.profiler.trace(folder):
        for _ in range(3):
            jax.block_until_ready(program(clips))
    files = sorted(pathlib.Path(folder).rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not files:
        print("no trace file was written")
        return
    events = json.loads(gzip.decompress(files[-1].read_bytes()))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    on_device = {pid for pid, name in names.items() if "/device:" in name} or set(names)
    spent: collections.Counter[str] = collections.Counter()
    count: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X" and event["pid"] in on_device:
            spent[event["name"]] += event["dur"]
            count[event["name"]] += 1
    print(f"\n{'kernel (3 calls, all streams)':<70}{'us':>10}{'times':>7}")
    for name, duration in spent.most_common(25):
        print(f"{name[:68]:<70}{duration:>10.0f}{count[name]:>7}")


def main(argv: list[str]) -> None:
    del argv
    device = jax.devices()[0]
    print(f"{device.platform}, {device.device_kind}, jax {jax.__version__}, python {sys.version.split()[0]}")
    cases = list(_cases())
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(FLAGS.compile_threads) as pool:
        programs = dict(zip(cases, pool.map(_compiled, cases), strict=True))
    print(f"{len(cases)} programs compiled in {time.perf_counter() - start:.0f} s\n")

    print("ids against int64 numpy")
    for case in cases:
        if case[-1] == "ids":
            found = _check(case, programs[case][0])
            print(f"  {case[0]:>6} {case[1]:>4} px, {case[2]:>3} frames, {case[3]:<8}{found}")

    print(
        f"\n{'triangles':>9}{'px':>6}{'frames':>8}  {'form':<8}{'part':<11}{'ms/call':>9}{'us/frame':>10}",
        end="",
    )
    print(f"{'temp MB':>9}{'compile s':>11}")
    for case in cases:
        n_faces, size, n_frames, form, part = case
        program, compile_s = programs[case]
        ms = _milliseconds(program, jnp.asarray(_mesh(n_faces, n_frames)[0]))
        memory = program.memory_analysis().temp_size_in_bytes / 1e6
        print(
            f"{n_faces:>9}{size:>6}{n_frames:>8}  {form:<8}{part:<11}{ms:>9.3f}{1000 * ms / n_frames:>10.1f}"
            f"{memory:>9.1f}{compile_s:>11.1f}",
            flush=True,
        )
    if FLAGS.trace_dir:
        largest = max(cases, key=lambda case: (case[4] == "ids", case[2], case[0], case[1]))
        print(f"\ntraced: {largest}")
        _print_trace(FLAGS.trace_dir, programs[largest][0], jnp.asarray(_mesh(largest[0], largest[2])[0]))


if __name__ == "__main__":
    app.run(main)
