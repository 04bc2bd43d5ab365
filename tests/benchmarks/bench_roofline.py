"""How near the refiners come to what this machine can do at most. Runs on a CPU, a GPU or a TPU.

    python -m tests.benchmarks.bench_roofline [--batches=1,8,16] [--dtypes=float32,bfloat16] [--out=FILE.json]

The machine's peaks are measured in the same run: matrix products per type (float32 at JAX's default
precision, which on recent NVIDIA GPUs is TF32) and a copy (bytes read plus written). Per program:

    FLOPs    matrix products and convolutions, counted from the jaxpr (2 per multiply-add)
    bytes    read and written by all instructions, as the compiler counts them after fusion
    least    arguments read once and outputs written once: no program can move less
    compute  share of the measured matmul peak of its type
    memory   share of the measured copy rate, by `bytes` (caches can make it exceed 100 %)
    roof     time that an ideal machine needs, max(FLOPs / peak, least / copy rate), over the time measured

Times are minima of `--repeats` bursts of calls without waiting in between, which hides the host's work.
Memory-bound programs show a small `compute` and a `memory` near 100 %. Programs are compiled first, in
`--compile_threads` threads; what does not fit the budget of `--seconds` is left out and named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax
import jax.numpy as jnp

from talkjax.train.flops import count_flops
from talkjax.train.program_cost import program_cost
from tests.benchmarks.refiner_cases import Case, lite_case, paper_case

BATCHES = flags.DEFINE_list("batches", ["1"], "batch sizes")
DTYPES = flags.DEFINE_list("dtypes", ["float32"], "types of the networks' arithmetic")
PROGRAMS = flags.DEFINE_list(
    "programs",
    [
        "lite infer",
        "lite gan step",
        "default infer",
        "default gan step",
        "paper infer",
        "paper gan step",
        "lite step",
        "slim gan step",
    ],
    "which, in order of importance",
)
SIZE = flags.DEFINE_integer("size", 256, "side of the pictures, a power of two")
REPEATS = flags.DEFINE_integer("repeats", 5, "bursts of each program; the fastest counts", lower_bound=1)
BURST = flags.DEFINE_float("burst_seconds", 0.3, "aim of one burst's length")
SECONDS = flags.DEFINE_float("seconds", 420.0, "start no more programs after this time")
THREADS = flags.DEFINE_integer("compile_threads", 0, "0: one on a CPU, else eight")
OUT = flags.DEFINE_string("out", None, "write the figures as JSON")


class Peaks(NamedTuple):
    """Measured in this run: operations per second of each type, bytes per second of a copy."""

    flops: dict[str, float]
    copy: float


def fastest_call(call: Callable[[], Any], repeats: int, burst_seconds: float) -> float:
    """Seconds per call in the fastest burst; `call` returns arrays to wait for."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    jax.block_until_ready(call())
    once = time.perf_counter() - start
    count = min(max(int(burst_seconds / max(once, 1e-6)), 1), 200)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        jax.block_until_ready(result)
        best = min(best, (time.perf_counter() - start) / count)
    return best


def measure_peaks(dtypes: list[str]) -> Peaks:
    """Peaks by a large matrix product per type and by one pass over a large array."""
    cpu = jax.default_backend() == "cpu"
    product = jax.jit(lambda a, b: a @ b)
    rates = {}
    for dtype in dtypes:
        rates[dtype], side = 0.0, 512
        # larger products come nearer to the peak; CPUs can be very slow in bfloat16
        while side <= 8192:
            a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
            seconds = fastest_call(lambda a=a: product(a, a), 3, 0.1)
            rates[dtype] = max(rates[dtype], 2.0 * side**3 / seconds)
            side = 2 * side if 8 * seconds < 0.5 else 16384
    n = 2**26 if cpu else 2**29  # float32: 256 MiB, 2 GiB
    long = jnp.zeros(n, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    return Peaks(rates, 8.0 * n / fastest_call(lambda: add(long), 5, 0.2))


def make_case(program: str, batch: int, dtype: str) -> Case:
    preset, _, kind = program.partition(" ")
    if preset in ("lite", "default"):
        return lite_case(kind, batch, dtype, SIZE.value, preset)
    return paper_case(kind, batch, dtype, SIZE.value, slim=preset == "slim")


def prepare(case: Case) -> tuple[Any, float, float]:
    """The compiled program, its FLOPs, and the seconds that compiling took."""
    start = time.perf_counter()
    compiled = case.compiled()
    took = time.perf_counter() - start
    shapes = (jax.eval_shape(case.state), case.batch, jax.eval_shape(case.constants))
    return compiled, count_flops(case.function, *shapes), took


def timed(case: Case, compiled: Any) -> float:
    """Seconds per call."""
    state, batch, constants = case.arguments()
    if not case.donated:
        return fastest_call(lambda: compiled(state, batch, constants), REPEATS.value, BURST.value)
    holder = [state]
    del state

    def step() -> Any:
        holder[0], metrics = compiled(holder[0], batch, constants)
        return metrics

    return fastest_call(step, REPEATS.value, BURST.value)


def measure(name: str, batch: int, dtype: str, case: Case, ready: Any, peaks: Peaks) -> dict[str, Any]:
    """One row of the table."""
    compiled, flops, took = ready
    cost = program_cost(compiled)
    seconds = timed(case, compiled)
    least = (cost.arguments or 0) + (cost.outputs or 0)
    ideal = max(flops / peaks.flops[dtype], least / peaks.copy)
    return {
        "program": name,
        "batch": batch,
        "dtype": dtype,
        "milliseconds": 1e3 * seconds,
        "frames_per_second": batch / seconds,
        "gflop": flops / 1e9,
        "megabytes": None if cost.accessed is None else cost.accessed / 1e6,
        "least_megabytes": least / 1e6,
        "peak_memory_megabytes": None if cost.peak_bytes is None else cost.peak_bytes / 1e6,
        "share_of_matmul_peak": flops / seconds / peaks.flops[dtype],
        "share_of_copy_rate": None if cost.accessed is None else cost.accessed / seconds / peaks.copy,
        "share_of_roof": ideal / seconds,
        "bound": "compute" if flops / peaks.flops[dtype] >= least / peaks.copy else "memory",
        "compile_seconds": took,
    }


def rows(peaks: Peaks) -> Iterator[dict[str, Any]]:
    """Measured rows; programs of one importance in all types and batch sizes before the next."""
    begin = time.perf_counter()
    wanted = [(p, int(b), d) for p in PROGRAMS.value for d in DTYPES.value for b in BATCHES.value]
    threads = THREADS.value or (1 if jax.default_backend() == "cpu" else 8)
    with ThreadPoolExecutor(threads) as pool:
        jobs: list[tuple[Any, Case, Future[Any]]] = []
        for name, batch, dtype in wanted:
            case = make_case(name, batch, dtype)
            jobs.append(((name, batch, dtype), case, pool.submit(prepare, case)))
        if threads > 1:  # compiling beside a timing would slow both
            for _, _, job in jobs:
                while not job.done() and time.perf_counter() - begin < 0.6 * SECONDS.value:
                    time.sleep(0.05)
            for _, _, job in jobs:
                job.cancel()
        for (name, batch, dtype), case, job in jobs:
            late = time.perf_counter() - begin > SECONDS.value
            if job.cancelled() or late or (threads > 1 and not job.done()):
                job.cancel()
                print(f"left out for lack of time: {name}, batch {batch}, {dtype}", flush=True)
                continue
            try:
                yield measure(name, batch, dtype, case, job.result(), peaks)
            except jax.errors.JaxRuntimeError as error:
                print(f"failed: {name}, batch {batch}, {dtype}: {str(error).splitlines()[0]}", flush=True)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    device = jax.devices()[0]
    peaks = measure_peaks(DTYPES.value)
    tera = ", ".join(f"{name} {rate / 1e12:.3f} TFLOP/s" for name, rate in peaks.flops.items())
    print(f"{device.device_kind}, jax {jax.__version__}; {tera}, copy {peaks.copy / 1e9:.1f} GB/s")
    head = f"{'program':<16}{'type':<10}{'batch':>6}{'ms':>10}{'fps':>9}{'GFLOP':>9}{'MB':>9}{'least MB':>9}"
    print(f"{head}{'compute':>9}{'memory':>8}{'roof':>7}{'compile':>9}")
    table = []
    for row in rows(peaks):
        table.append(row)
        text = f"{row['program']:<16}{row['dtype']:<10}{row['batch']:>6}{row['milliseconds']:>10.2f}"
        text += f"{row['frames_per_second']:>9.1f}{row['gflop']:>9.2f}{row['megabytes'] or 0:>9.0f}"
        text += f"{row['least_megabytes']:>9.0f}{100 * row['share_of_matmul_peak']:>7.1f} %"
        text += f"{100 * (row['share_of_copy_rate'] or 0):>6.0f} %{100 * row['share_of_roof']:>5.0f} %"
        print(f"{text}{row['compile_seconds']:>7.1f} s", flush=True)
        if OUT.value:
            record = {"device": device.device_kind, "jax": jax.__version__, "size": SIZE.value}
            record |= {"matmul_flops": peaks.flops, "copy_bytes": peaks.copy, "rows": table}
            Path(OUT.value).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    app.run(main)
