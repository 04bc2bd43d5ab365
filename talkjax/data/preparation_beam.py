"""Preparation as an Apache Beam pipeline: the same jobs in this process, on the cores of a machine, or on a
cluster (Dataflow, Flink, Spark), as the runner's own flags say."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from talkjax.data.preparation import ATTEMPTS, Job, Preparer, do_job, interrupted
from talkjax.data.shard_jobs import end_with_parent
from talkjax.errors import InputError

LOCAL = ("DirectRunner", "direct")
NAMESPACE = "prepare_corpus"


def runner_options(runner: str, workers: int, flags: Sequence[str]) -> PipelineOptions:
    """Options of a runner: `workers` counts for the local one only, all `flags` are the runner's own.

    Local with one worker works in this process, with more in as many worker processes. A cluster needs
    talkjax on its workers (`--sdk_container_image=`) and both folders mounted there under the same path.
    """
    options = [f"--runner={runner}", "--default_sdk_harness_log_level=WARNING", *flags]
    if runner in LOCAL:
        if workers < 1:
            raise InputError(f"--workers={workers}", expected="at least 1")
        mode = "multi_processing" if workers > 1 else "in_memory"
        options += [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    return PipelineOptions(options)


class _DoJob(beam.DoFn):
    """One job on a worker."""

    def __init__(self, preparer: Preparer, out: str):
        self._preparer, self._out = preparer, out

    def setup(self) -> None:
        import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)

        logging.getLogger("talkjax").setLevel(logging.WARNING)

    def process(self, job: Job) -> Iterator[dict[str, Any]]:
        report = do_job(self._preparer, Path(self._out), job)
        state = "kept" if report["kept"] else "rejected" if report["code"] else "prepared"
        Metrics.counter(NAMESPACE, state).inc()
        yield report


def prepare_all(preparer: Preparer, out: Path, jobs: Sequence[Job], options: PipelineOptions) -> None:
    """Runs the pipeline to its end; results lie under `out` (see `preparation`)."""
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "clips" >> beam.Create(list(jobs))
            | "spread" >> beam.Reshuffle()  # else a runner keeps what it created together
            | "prepare" >> beam.ParDo(_DoJob(preparer, str(out)))
        )


def prepare_persistently(
    preparer: Preparer, out: Path, jobs: Sequence[Job], runner: str, workers: int, flags: Sequence[str]
) -> None:
    """`prepare_all` in a process of its own, begun again when a clip ends a worker.

    Such a clip (its decoder crashes; not a Python error) would leave Beam's local runner waiting for ever,
    and every other worker with it. Here the process ends instead. The clips that workers were at are then
    done each in a process of its own, which shows the guilty one: at its third end it is rejected.

    Raises:
      InputError: bad options. RuntimeError: the pipeline failed, and no clip is to blame; its error is on
        stderr.
    """
    runner_options(runner, workers, flags)
    args = (preparer, out, list(jobs), runner, workers, list(flags))
    while code := _run_process(_pipeline, args):
        suspects = interrupted(out, jobs)
        if not suspects:
            raise RuntimeError(f"preparation failed (exit code {code})")
        print(f"a worker ended; {len(suspects)} clips are done one by one", file=sys.stderr, flush=True)
        for job in suspects:
            if all(_run_process(_alone, (preparer, out, job)) for _ in range(ATTEMPTS + 1)):
                raise RuntimeError(f"{job.name} cannot be done, nor can that be noted")


def _run_process(target: Any, args: tuple[Any, ...]) -> int:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode or 0


def _alone(preparer: Preparer, out: Path, job: Job) -> None:
    end_with_parent()
    do_job(preparer, out, job)


def _pipeline(
    preparer: Preparer, out: Path, jobs: list[Job], runner: str, workers: int, flags: list[str]
) -> None:
    end_with_parent()
    logging.getLogger().setLevel(logging.ERROR)  # Beam tells every step of its own

    def leave(args: Any) -> None:
        print(f"preparation: {args.exc_type.__name__}: {args.exc_value}", file=sys.stderr, flush=True)
        os._exit(1)

    threading.excepthook = leave  # there Beam notices a worker's end, and nowhere else
    prepare_all(preparer, out, jobs, runner_options(runner, workers, flags))
