"""How fast training input is made: python -m tests.benchmarks.bench_input --refiner=DIR,DIR --mapping=DIR

Rows of the batch per second and per CPU second, the best of several repeats, for each corpus (as
launch.prepare_corpus made it): in line, in threads and in worker processes, with and without augmentation.
CPU seconds say what a row costs also while other work runs on the machine. An H200 takes about 1,100 windows
of the paper's refiner per second (networks.md §3): the last column says how many cores like these that needs.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags

import talkjax  # noqa: F401
from talkjax.data.grain_input import GrainInput, stacked
from talkjax.data.train_input import mapping_input, refiner_input, refiner_sizes

_REFINER = flags.DEFINE_list("refiner", [], "Refiner corpora.")
_MAPPING = flags.DEFINE_list("mapping", [], "Mapping corpora.")
_BATCH = flags.DEFINE_integer("batch", 16, "Rows per batch.")
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Least time of one repeat.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Repeats; the best counts.")
_OUT = flags.DEFINE_string("out", None, "Also write the rows to this JSON file.")

WANTED = 1100
"""Windows per second that an H200 takes."""
CORES = os.cpu_count() or 1
WAYS = (("in line", 0, 0), ("2 threads", 0, 2), ("8 threads", 0, 8), (f"{CORES} processes", CORES, 1))


def _in_line(source: GrainInput) -> Iterator[Any]:
    step = 0
    while True:
        yield stacked([source.row(step, r) for r in range(source.batch)])
        step += 1


def rate(batches: Iterator[Any], rows: int) -> tuple[float, float]:
    """Best rows per second, and per CPU second of this process; the first batches (start, empty buffers) are
    not counted."""
    for _ in range(4):
        next(batches)
    best, cheapest = 0.0, 0.0
    for _ in range(_REPEATS.value):
        begin, cpu, made = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begin < _SECONDS.value:
            next(batches)
            made += rows
        best = max(best, made / (time.perf_counter() - begin))
        cheapest = max(cheapest, made / (time.process_time() - cpu))
    return best, cheapest


def _measure(name: str, make: Any, unit: str, ways: Any = WAYS) -> list[dict[str, Any]]:
    rows = []
    for way, workers, threads in ways:
        source = make(workers=workers, threads=max(threads, 1))
        batches = source.batches(0) if threads else _in_line(source)
        found, per_cpu = rate(batches, _BATCH.value)
        if hasattr(batches, "close"):
            batches.close()
        costs, cores = ("", "") if workers else (f"{per_cpu:.0f}", "")
        if unit == "windows" and not threads:
            cores = f"{WANTED / per_cpu:.1f}"
        print(f"| {name} | {way} | {found:.0f} | {costs} | {cores} |", flush=True)
        rows.append({"corpus": name, "way": way, "per_second": found, "per_cpu_second": costs})
    return rows


def main(_: list[str]) -> None:
    print(f"{CORES} cores, batch {_BATCH.value}, best of {_REPEATS.value} x {_SECONDS.value} s\n")
    print("| input | made | rows/s | rows/CPU s | cores for an H200 |\n| --- | --- | --- | --- | --- |")
    rows: list[dict[str, Any]] = []
    common: dict[str, Any] = {"batch": _BATCH.value, "seed": 0}
    for corpus in _REFINER.value:
        sizes = refiner_sizes(corpus)
        for preset in ("lite", "paper"):
            for augment in (True, False):
                kind = "" if augment else ", no augmentation"
                label = f"{Path(corpus).name}, {sizes.size} px, {preset}{kind}"

                def make(p: str = preset, a: bool = augment, c: str = corpus, **ways: int) -> GrainInput:
                    return refiner_input(c, preset=p, augment=a, **common, **ways)

                rows += _measure(label, make, "windows")
    for corpus in _MAPPING.value:

        def make_mapping(c: str = corpus, **ways: int) -> GrainInput:
            return mapping_input(c, **common, **ways)

        label = f"{Path(corpus).name}, sequences of 128 frames"
        rows += _measure(f"{label}, from disk", make_mapping, "sequences")
        known = mapping_input(corpus, **common)
        for k, v in itertools.product(range(len(known.row.source.lengths)), range(known.row.source.versions)):
            known.row.source.item(k, v)

        def make_known(known: GrainInput = known, **ways: int) -> GrainInput:
            return dataclasses.replace(known, **ways)

        rows += _measure(f"{label}, utterances in memory", make_known, "sequences", WAYS[:3])
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
