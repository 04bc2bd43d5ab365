"""From clips to what a corpus holds: one job per clip, each result kept, by any Beam runner.

    OUT/prepared/ab/<name's hash>.npz    what a clip gave
    OUT/prepared/ab/<name's hash>.json   what came of it: key of its content, reason if rejected, time
    OUT/rejects.jsonl                    all rejected clips and why

A job whose key (code version, settings, bytes of the clip) is the same as before is not done again: a killed
run goes on where it was, and a corrected clip is done anew. A clip that ends the worker process three times
(a decoder that crashes) is rejected as well.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import hashlib
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from talkjax.errors import InputError
from talkjax.track.durable import read_json, write_json

REJECTS = "rejects.jsonl"
ATTEMPTS = 3
_NOT_THE_CLIP = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES)
MAX_REJECT_RATIO = 0.2


@dataclasses.dataclass(frozen=True)
class Job:
    """One clip or person. name: unique in the corpus; split: where its examples go; facts: what the
    preparer needs beside (JSON)."""

    name: str
    split: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class Preparer(Protocol):
    """How jobs of a corpus are done. Must be picklable: it travels to the workers."""

    def ready(self) -> None:
        """InputError where this machine lacks what every job needs (model files)."""
        ...

    def key(self, job: Job) -> str:
        """Digest of everything that decides the result. InputError where the clip cannot be read."""
        ...

    def prepare(self, job: Job, result: Path, key: str) -> int:
        """Writes the result in one step; returns how many video frames it took. InputError rejects the
        clip."""
        ...

    def intact(self, result: Path, key: str) -> bool:
        """Whether a result is whole and of this key."""
        ...


def result_path(out: Path, job: Job) -> Path:
    """Where the result of a job lies; its report has the suffix `.json`."""
    digest = hashlib.sha256(job.name.encode()).hexdigest()[:32]
    return out / "prepared" / digest[:2] / f"{digest}.npz"


def read_report(out: Path, job: Job) -> dict[str, Any] | None:
    """The report of a job; None where there is none (any more)."""
    try:
        return read_json(result_path(out, job).with_suffix(".json"))
    except InputError:
        return None


def do_job(preparer: Preparer, out: Path, job: Job) -> dict[str, Any]:
    """Does a job, unless its result is there; returns its report, with `kept` true or false.

    Raises:
      InputError: nothing can be done on this machine. OSError: the disk is full or cannot be written.
    """
    preparer.ready()
    result = result_path(out, job)
    report, started = result.with_suffix(".json"), result.with_suffix(".started")
    result.parent.mkdir(parents=True, exist_ok=True)
    for leftover in result.parent.glob(f"{result.stem}*.tmp-*"):  # of a killed worker
        leftover.unlink(missing_ok=True)
    begin, cpu = time.monotonic(), time.process_time()
    facts: dict[str, Any] = {"clip": job.name, "split": job.split, "key": "", "code": None, "frames": 0}
    try:
        facts["key"] = key = preparer.key(job)
        before = read_report(out, job)
        if before and before["key"] == key and (before["code"] or preparer.intact(result, key)):
            return {**before, "kept": True}
        _count_attempt(started, key)
        facts["frames"] = preparer.prepare(job, result, key)
    except InputError as error:
        facts |= {"code": error.code, "problem": error.problem}
    except MemoryError:
        raise
    except Exception as error:  # whatever a strange clip does to the code, it is the clip that goes
        if isinstance(error, OSError) and error.errno in _NOT_THE_CLIP:
            started.unlink(missing_ok=True)
            raise
        facts |= {"code": f"error_{type(error).__name__}", "problem": str(error)[:500]}
    facts |= {
        "seconds": round(time.monotonic() - begin, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }
    write_json(report, facts)
    started.unlink(missing_ok=True)
    return {**facts, "kept": False}


def _count_attempt(started: Path, key: str) -> None:
    try:
        before = read_json(started)
    except InputError:
        before = {}
    attempts = int(before.get("attempts", 0)) if before.get("key") == key else 0
    if attempts >= ATTEMPTS:
        raise InputError(f"the worker ended {attempts} times in this clip", code="crashes")
    write_json(started, {"key": key, "attempts": attempts + 1})


def interrupted(out: Path, jobs: Sequence[Job]) -> list[Job]:
    """Jobs that a worker was at when it ended."""
    return [job for job in jobs if result_path(out, job).with_suffix(".started").exists()]


def settle(out: Path, jobs: Sequence[Job], missing: Sequence[str], max_reject_ratio: float) -> dict[str, Any]:
    """Writes `rejects.jsonl` and judges it; returns counts.

    Args:
      missing: names that the manifest promises and the folder lacks; listed (code `missing`), not counted.

    Raises:
      InputError: a job was never done (run again), too many rejects, or nothing left.
    """
    reports = {job.name: read_report(out, job) for job in jobs}
    undone = [name for name, report in reports.items() if report is None]
    if undone:
        raise InputError(
            f"{len(undone)} of {len(jobs)} clips are not prepared ({undone[0]}, ...)",
            fix="run the same command again; what is finished is kept",
            code="unfinished",
        )
    rejects = [r for r in reports.values() if r and r["code"]]
    rows = [{name: r[name] for name in ("clip", "split", "code", "problem")} for r in rejects]
    rows += [{"clip": name, "split": None, "code": "missing", "problem": "not there"} for name in missing]
    temporary = out / f"{REJECTS}.tmp-{os.getpid()}"
    temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    os.replace(temporary, out / REJECTS)
    counts = dict(collections.Counter(row["code"] for row in rows))
    worst = ", ".join(f"{code}: {n}" for code, n in collections.Counter(counts).most_common(3))
    if len(rejects) == len(jobs):
        raise InputError(f"none of the {len(jobs)} clips can be used ({worst})", code="no_usable_clips")
    if len(rejects) > max_reject_ratio * len(jobs):
        raise InputError(
            f"{len(rejects)} of {len(jobs)} clips are rejected ({worst})",
            expected=f"at most {max_reject_ratio:.0%}",
            fix=f"see {out / REJECTS}; --max_reject_ratio allows more",
            code="too_many_rejects",
        )
    done = [r for r in reports.values() if r and not r["code"]]
    return {
        "clips": len(jobs),
        "prepared": len(done),
        "rejected": counts,
        "frames": sum(r["frames"] for r in done),
        # what a clip costs; the mean has the compiling of every worker in it
        "cpu_seconds": round(sum(r["cpu_seconds"] for r in done), 1),
        "cpu_seconds_per_clip": round(statistics.median(r["cpu_seconds"] for r in done), 2),
    }
