"""The state of runs as text for a terminal, and their loss curves as one picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from talkjax.errors import InputError
from talkjax.train.metrics import METRICS, read_rows
from talkjax.train.run_state import RunState, Trend, current_rows

_MANY = {"resume": "resumed", "skip": "steps skipped", "rollback": "rolled back", "fallback": "fell back"}


def report(run: RunState, now: float | None = None) -> str:
    """A dozen lines about one run."""
    now = time.time() if now is None else now
    lines = [f"{run.run_id}: {run.state}" + (f" ({run.why})" if run.why else "")]
    lines += _row("folder", str(run.folder))
    lines += _row("task", _task(run.record))
    lines += _row("steps", _progress(run, now))
    lines += [line for name, t in list(run.losses.items())[:1] for line in _row(name, _trend(t))]
    others = ", ".join(f"{name} {t.last:.4g}" for name, t in list(run.losses.items())[1:])
    lines += _row("terms", others)
    lines += _row("speed", _speed(run.speed))
    lines += _row("events", ", ".join(f"{_MANY[name]} {n}x" for name, n in run.counts.items()))
    for k, c in enumerate(run.checkpoints):
        condition = f"damaged: {c.problem}" if c.problem else "whole" if c.verified else "manifest whole"
        lines += _row("" if k else "saved", f"step {c.step:<8} {size(c.bytes):>9}  {condition}")
    if not run.checkpoints:
        lines += _row("saved", "nothing yet")
    if run.leftovers:
        lines += _row("", f"unfinished: {', '.join(run.leftovers)} (removed by the next save)")
    lines += _row("goes on", _resume(run))
    parts = ", ".join(f"{name} {size(n)}" for name, n in run.disk.items() if n)
    lines += _row("disk", f"{size(sum(run.disk.values()))}: {parts}")
    if run.torn_lines:
        lines += _row("note", f"{run.torn_lines} rows were cut by a kill and are left out")
    return "\n".join(lines)


def plot_losses(runs: Sequence[RunState], path: Path, metric: str = "loss") -> None:
    """Draws a metric of several runs over their steps: each row faint, its running median bold.

    Raises:
      InputError: no run has the metric, or the file cannot be written.
    """
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    positive, drawn = True, 0
    for run in runs:
        rows = current_rows(read_rows(run.folder / METRICS)[0])
        known = [(row["step"], row[metric]) for row in rows if isinstance(row.get(metric), int | float)]
        if not known:
            continue
        steps, values = np.array(known).T
        color = f"C{drawn}"
        ax.plot(steps, values, color=color, alpha=0.3, linewidth=0.8)
        dashes = ("-", "--", ":", "-.")[drawn % 4]  # curves that coincide stay visible
        ax.plot(steps, _running_median(values), dashes, color=color, linewidth=1.6, label=run.run_id)
        positive, drawn = positive and bool((values > 0).all()), drawn + 1
    if not drawn:
        raise InputError(
            f"no run has a row with {metric} yet", expected="rows in metrics.jsonl", code="no_rows"
        )
    ax.set(xlabel="step", ylabel=metric, yscale="log" if positive else "linear")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be written ({error})",
            expected="a .png in a folder that is there",
            code="write_failed",
        ) from error


def size(count: int) -> str:
    """Bytes for people: 1.2 MB."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.4 h, 2.1 days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _row(name: str, text: str) -> list[str]:
    return [f"  {name:<9}{text}"] if text else []


def _task(record: dict[str, Any]) -> str:
    mesh = record.get("mesh") or {}
    parts = [
        str(record.get("task") or record.get("config_class") or ""),
        f"{record['n_params']:,} parameters" if isinstance(record.get("n_params"), int) else "",
        f"{record.get('devices')} {record.get('platform')} devices" if record.get("devices") else "",
        f"{record['hosts']} processes" if record.get("hosts") else "",
        "mesh " + " x ".join(f"{k} {v}" for k, v in mesh.items()) if isinstance(mesh, dict) and mesh else "",
    ]
    return ", ".join(filter(None, parts))


def _progress(run: RunState, now: float) -> str:
    text = f"{run.steps}"
    if run.total:
        text += f" of {run.total} ({100 * run.steps / run.total:.1f} %)"
    if run.state == "running" and run.total and (seconds := run.speed.get("step_seconds")):
        text += f", about {duration((run.total - run.steps) * seconds)} to go"
    if run.last_row_time is not None:
        text += f", last heard of {duration(max(now - run.last_row_time, 0.0))} ago"
    return text


def _trend(t: Trend) -> str:
    if t.change is None:
        return f"{t.last:.5g}"
    way = ("falling" if t.change < 0 else "rising") if t.clear else "steady"
    return f"{t.last:.5g}, {way} ({100 * t.change:+.1f} % over the last {t.steps} steps)"


def _speed(speed: dict[str, float | None]) -> str:
    forms = {
        "step_seconds": lambda v: f"{v:.3g} s a step",
        "examples_per_second": lambda v: f"{v:.3g} examples/s",
        "mfu": lambda v: f"MFU {100 * v:.2g} %",
        "input_wait_share": lambda v: f"input wait {100 * v:.2g} %",
        "memory_bytes": lambda v: f"memory {size(int(v))} a device",
    }
    return ", ".join(form(v) for name, form in forms.items() if (v := speed.get(name)) is not None)


def _resume(run: RunState) -> str:
    if run.state == "finished":
        return ""
    if run.resume_step is None:
        return "cannot: no checkpoint is whole"
    where = f"from step {run.resume_step}" if run.resume_step else "from the beginning (nothing is saved)"
    if run.state == "running":
        return f"{where}, if it ended now"
    return f"{where}: {run.command}" if run.command else where


def _running_median(values: np.ndarray) -> np.ndarray:
    width = max(len(values) // 50, 1) | 1
    padded = np.pad(values, width // 2, mode="reflect" if len(values) > width // 2 else "edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), -1)
