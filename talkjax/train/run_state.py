"""What can be told of a run from its folder: state, progress, checkpoints, where it can go on.

Reads only, takes no lock, and is made for folders in any condition: a run that is being written, was killed
in the middle of a row, or lost its `run.json`.
"""

from __future__ import annotations

import json
import math
import os
import socket
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkjax.errors import InputError
from talkjax.train.checkpoint import DamagedCheckpointError, checkpoint_steps, read_manifest
from talkjax.train.metrics import EVENTS, METRICS, PANELS, TENSORBOARD, read_rows
from talkjax.train.run_checkpoint import check_files
from talkjax.train.run_lock_view import lock_holder, lock_is_held

RECORD, LOCK, CHECKPOINTS = "run.json", "LOCK", "checkpoints"
_MARKS = (RECORD, METRICS, EVENTS, CHECKPOINTS)
FRESH_SECONDS = 600.0
"""A run of another host, whose lock may be invisible here, counts as running while its rows are younger."""
_ENDINGS = {"done": "finished", "stop": "stopped", "error": "failed"}
_COUNTED = ("resume", "skip", "rollback", "fallback")
_TREND_ROWS = 40


@dataclass(frozen=True)
class CheckpointState:
    """One checkpoint: `problem` is empty for a whole one; `verified`: every byte was compared."""

    step: int
    bytes: int
    problem: str
    verified: bool


@dataclass(frozen=True)
class Trend:
    """A metric's last value, and its relative change between the two halves of the last rows.

    `change` is None with fewer than four rows; `clear` when it is more than twice its standard error.
    """

    last: float
    change: float | None
    clear: bool
    steps: int


@dataclass(frozen=True)
class RunState:
    """One run.

    Attributes:
      state: running, finished, stopped (saved, may go on), failed (it said why), killed (it said nothing),
        damaged (no usable `run.json`, or checkpoints of which none is whole).
      why: one line more about the state.
      steps, total: finished steps, and wanted ones (None: unknown).
      losses: trends, the loss first.
      speed: last row's step_seconds, examples_per_second, mfu, input_wait_share, memory_bytes; None: unknown.
      counts: how often it resumed, skipped a step, rolled back, fell back to an older checkpoint.
      resume_step: where the next start goes on; 0: from the beginning; None: it cannot (see `why`).
      disk: bytes by part of the folder.
      torn_lines: rows that a kill cut.
    """

    run_id: str
    folder: Path
    state: str
    why: str
    record: dict[str, Any]
    steps: int
    total: int | None
    losses: dict[str, Trend]
    speed: dict[str, float | None]
    checkpoints: tuple[CheckpointState, ...]
    leftovers: tuple[str, ...]
    resume_step: int | None
    command: str
    counts: dict[str, int]
    disk: dict[str, int]
    torn_lines: int
    last_row_time: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["folder"] = str(self.folder)
        data["losses"] = {name: vars(trend) for name, trend in self.losses.items()}
        data["checkpoints"] = [vars(checkpoint) for checkpoint in self.checkpoints]
        return data


def find_runs(workdir: Path, run_id: str | None = None) -> list[Path]:
    """Folders of the runs in a work folder (or the folder itself, when it is one run), by name.

    Raises:
      InputError: no such folder, no run in it, or none of that name.
    """
    if not workdir.is_dir():
        raise InputError(
            f"{workdir} is no folder", expected="the --workdir of launch.train", code="no_such_folder"
        )
    if run_id is None and any((workdir / name).exists() for name in (RECORD, METRICS)):
        return [workdir]
    try:
        inside = sorted(path for path in workdir.iterdir() if path.is_dir())
    except OSError as error:
        raise InputError(f"{workdir} cannot be read ({error.strerror})", code="unreadable") from error
    runs = [path for path in inside if any((path / name).exists() for name in _MARKS)]
    names = ", ".join(path.name for path in runs[:8]) + (", ..." if len(runs) > 8 else "")
    if run_id is not None:
        runs = [path for path in runs if path.name == run_id]
        if not runs:
            raise InputError(
                f"no run {run_id} in {workdir}",
                expected=f"one of: {names or '(none there)'}",
                code="no_such_run",
            )
    if not runs:
        raise InputError(
            f"no run in {workdir}", expected=f"folders with {RECORD} in them", code="no_such_run"
        )
    return runs


def read_run(folder: Path, *, verify: bool = False, now: float | None = None) -> RunState:
    """Everything about one run.

    Args:
      folder: of the run.
      verify: read every checkpoint's bytes and compare digests; otherwise only its manifest.
      now: present time, for tests.
    """
    record, problem = _read_record(folder / RECORD)
    rows, torn = read_rows(folder / METRICS)
    events, torn_events = read_rows(folder / EVENTS)
    rows = current_rows(rows)
    checkpoints = tuple(
        read_checkpoint(folder / CHECKPOINTS, step, verify=verify)
        for step in reversed(checkpoint_steps(folder / CHECKPOINTS))
    )
    whole = [c.step for c in checkpoints if not c.problem]
    times = [r["time"] for r in (rows[-1:] + events[-1:]) if isinstance(r.get("time"), int | float)]
    last_time = max(times, default=None)
    state, why = _state(folder, events, last_time, time.time() if now is None else now)
    if problem:
        state, why = ("damaged", problem) if state != "running" else (state, problem)
    elif checkpoints and not whole and state != "running":
        state, why = "damaged", f"none of {len(checkpoints)} checkpoints is whole: {checkpoints[0].problem}"
    last = rows[-1] if rows else {}
    done = max([_step(last), *(_step(e) for e in events[-1:]), *whole[:1]])
    resume = None if checkpoints and not whole else (whole[0] if whole else 0)
    return RunState(
        run_id=folder.name,
        folder=folder,
        state=state,
        why=why,
        record=record,
        steps=done,
        total=_integer(record.get("steps")),
        losses=_losses(rows),
        speed={name: _number(last.get(name)) for name in SPEED},
        checkpoints=checkpoints,
        leftovers=tuple(sorted(p.name for p in (folder / CHECKPOINTS).glob("tmp-*"))),
        resume_step=None if state == "finished" else resume,
        command=_command(record),
        counts={name: n for name in _COUNTED if (n := Counter(e.get("event") for e in events)[name])},
        disk=_disk(folder),
        torn_lines=torn + torn_events,
        last_row_time=last_time,
    )


SPEED = ("step_seconds", "examples_per_second", "mfu", "input_wait_share", "memory_bytes")


def current_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metric rows in order of their steps: what a resumed run wrote again replaces what was there."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if not isinstance(row.get("step"), int):
            continue
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def read_checkpoint(folder: Path, step: int, *, verify: bool) -> CheckpointState:
    """Looks at one checkpoint: its manifest, and with `verify` every byte."""
    path, problem = folder / f"step_{step:08d}", ""
    try:
        manifest = read_manifest(path, step)
        if verify:
            check_files(path, manifest)
    except DamagedCheckpointError as error:
        problem = str(error)
    except (OSError, KeyError, TypeError, ValueError) as error:  # a folder that changes while it is read
        problem = f"{type(error).__name__}: {error}"
    return CheckpointState(step, _size(path), problem, verify)


def trend(values: list[tuple[int, float]]) -> Trend | None:
    """Trend of `(step, value)` pairs in order; None when there is none."""
    if not values:
        return None
    recent = values[-_TREND_ROWS:]
    span = recent[-1][0] - recent[0][0]
    if len(recent) < 4:
        return Trend(recent[-1][1], None, False, span)
    numbers = [value for _, value in recent]
    half = len(numbers) // 2
    early, late = numbers[:half], numbers[-half:]
    difference = statistics.fmean(late) - statistics.fmean(early)
    error = math.sqrt((statistics.variance(early) + statistics.variance(late)) / half)
    scale = abs(statistics.fmean(early))
    change = difference / scale if scale > 0 else 0.0
    return Trend(numbers[-1], change, abs(difference) > 2 * error, span)


def _losses(rows: list[dict[str, Any]]) -> dict[str, Trend]:
    """The loss and its parts: all numbers of the rows that are neither speed nor bookkeeping."""
    recent = rows[-_TREND_ROWS:]
    bookkeeping = ("step", "time", "bad_steps", *SPEED)
    names = [n for n in (recent[-1] if recent else {}) if n not in bookkeeping]
    trends = {}
    for name in sorted(names, key=lambda n: n != "loss"):
        values = [(r["step"], v) for r in recent if (v := _number(r.get(name))) is not None]
        if (found := trend(values)) is not None:
            trends[name] = found
    return trends


def _state(
    folder: Path, events: list[dict[str, Any]], last_time: float | None, now: float
) -> tuple[str, str]:
    holder = lock_holder(folder / LOCK)
    locked = lock_is_held(folder / LOCK)
    if locked:
        return "running", holder
    for event in reversed(events):
        if ending := _ENDINGS.get(str(event.get("event"))):
            words = (event.get(name) for name in ("message", "reason", "code", "error"))
            return ending, str(next(filter(None, words), ""))
        if event.get("event") in ("start", "resume"):
            break
    elsewhere = bool(holder) and socket.gethostname() not in holder
    if elsewhere and last_time is not None and now - last_time < FRESH_SECONDS:
        return "running", f"{holder}; by the age of its rows, its lock is not visible here"
    if last_time is None:
        return "killed", "before its first row"
    return "killed", "its last word is no ending"


def _read_record(path: Path) -> tuple[dict[str, Any], str]:
    """`run.json`, and what is wrong with it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"{RECORD} is missing"
    except (OSError, ValueError) as error:
        return {}, f"{RECORD} is damaged ({error})"
    return (record, "") if isinstance(record, dict) else ({}, f"{RECORD} is damaged (no object)")


def _command(record: dict[str, Any]) -> str:
    """What to type to go on, from the words in `run.json` (quoted ones, the program's path first)."""
    words = record.get("command")
    if not isinstance(words, list) or not words:
        return str(words or "")
    flags = [str(word) for word in words[1:]]
    hosts, devices = _integer(record.get("hosts")) or 1, _integer(record.get("devices")) or 1
    if "--distributed=env" in flags:  # processes that launch/local.sh started
        flags = [f for f in flags if f != "--distributed=env" and not f.startswith("--host_devices")]
        shape = f"--processes={hosts} --devices={devices // hosts}"
        return " ".join(["bash launch/local.sh", shape, "--", *flags])
    return " ".join(["python -m launch.train", *flags])


def _disk(folder: Path) -> dict[str, int]:
    parts = {name: _size(folder / name) for name in (CHECKPOINTS, TENSORBOARD, PANELS)}
    return {**parts, "rest": _size(folder) - sum(parts.values())}


def _size(path: Path) -> int:
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total


def _step(row: dict[str, Any]) -> int:
    return _integer(row.get("step")) or 0


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
