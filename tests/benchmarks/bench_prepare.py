"""What preparing a clip costs: python -m tests.benchmarks.bench_prepare CORPUS --source=DIR

Prepares some clips of a corpus's folder twice in this process; the second pass is what a clip costs once
everything is compiled, which is what counts for half a million of them. CPU seconds (all threads), so that
other work on the machine disturbs little. The last rows extrapolate to whole corpora.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in launch/prepare_corpus.py

import numpy as np
from absl import app, flags

import talkjax  # noqa: F401
from talkjax.data.corpora import builder_class
from talkjax.data.preparation import do_job, result_path

_SOURCE = flags.DEFINE_string("source", None, "Folder in the corpus's layout.", required=True)
_CLIPS = flags.DEFINE_integer("clips", 24, "How many clips, at most.")

WHOLE = {"lrw": ("538,766 clips of 29 frames", 538_766 * 29), "voxceleb2": ("2,442 h", 2442 * 90_000)}
CORES = (1, 64, 1000)


def main(argv: list[str]) -> None:
    name = argv[1]
    out = Path(tempfile.mkdtemp())
    builder = builder_class(name)(source=_SOURCE.value, data_dir=out)
    jobs, _ = builder.jobs(builder.root())
    jobs = jobs[: _CLIPS.value]
    preparer = builder.preparer(builder.root())
    print(
        "| pass | clips | rejected | frames | CPU s per clip (median) | CPU ms per frame (all) | kB per s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for number in (1, 2):
        shutil.rmtree(out / "prepared", ignore_errors=True)
        reports = [do_job(preparer, out, job) for job in jobs]
        done = [r for r in reports if not r["code"]]
        frames = sum(r["frames"] for r in done)
        spent = sum(r["cpu_seconds"] for r in reports)  # rejected clips cost as well
        size = sum(result_path(out, j).stat().st_size for j in jobs if result_path(out, j).exists())
        clip = np.median([r["cpu_seconds"] for r in done])
        print(
            f"| {number} | {len(jobs)} | {len(jobs) - len(done)} | {frames} | {clip:.2f} | "
            f"{1000 * spent / frames:.1f} | {size / 1000 / (frames / 25):.1f} |",
            flush=True,
        )
    if name in WHOLE:
        what, whole = WHOLE[name]
        hours = whole * spent / frames / 3600
        print(f"\n{what}: {hours:.0f} core-hours, {whole / 25 * size / (frames / 25) / 1e9:.0f} GB")
        for cores in CORES:
            print(f"  {cores} cores: {hours / cores:.1f} h = {hours / cores / 24:.2f} days")
    shutil.rmtree(out)


if __name__ == "__main__":
    app.run(main)
