"""Preparation as an Apache Beam pipeline: the same jobs in this process, on the cores of a machine, or on a
cluster (Dataflow, Flink, Spark), as the runner's own flags say."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from talkjax.data.preparation import Job, Preparer, do_job
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
