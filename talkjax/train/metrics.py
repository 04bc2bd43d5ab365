"""What a training run tells while it runs: rows of JSON, TensorBoard, pictures.

    RUN/metrics.jsonl    one row per report: {"step", "time", "loss", ...}; NaN and infinity are null
    RUN/events.jsonl     one row per happening: {"time", "event", "step", ...}
    RUN/panels/          pictures, NAME_STEP.png
    RUN/tensorboard/     the same scalars and pictures

A row is one line, appended by one write, so that a kill leaves at most one torn line, at the end; the next
writer closes it off and `read_rows` passes over it. TensorBoard's own background thread is not used: where
the disk is full it dies, and the training step then waits for it for ever.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from talkjax.errors import InputError
from talkjax.media.image import write_image
from talkjax.train.chips import peak_flops as peak_flops

METRICS, EVENTS, PANELS, TENSORBOARD = "metrics.jsonl", "events.jsonl", "panels", "tensorboard"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class MetricsWriter:
    """Writes a run's metrics; also a context manager.

    Args:
      folder: of the run; made if missing.
      active: false makes every method do nothing; only process 0 of a run may be active.

    Raises:
      InputError: code `write_failed` when a file cannot be written, here and in every method.
    """

    def __init__(self, folder: Path, active: bool = True):
        self._folder, self._active = Path(folder), active
        self._board: _Board | None = None
        if active:
            self._metrics = _Rows(self._folder / METRICS)
            self._events = _Rows(self._folder / EVENTS)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Adds the row of `step` (finished steps). None, NaN and infinity become null."""
        if not self._active:
            return
        plain = {name: _finite(value) for name, value in values.items()}
        self._metrics.add({"step": int(step), "time": time.time(), **plain})
        if board := self._tensorboard(step):
            board.scalars(step, {name: value for name, value in plain.items() if value is not None})

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Keeps a picture `[h w 3]` uint8 RGB under a name of letters, digits, dots, dashes, underscores."""
        if not self._active:
            return
        if not _NAME.fullmatch(name):
            raise ValueError(f"picture name {name!r}: use letters, digits and . _ -")
        panels = self._folder / PANELS
        _write(panels, lambda: panels.mkdir(parents=True, exist_ok=True))
        write_image(panels / f"{name}_{step:08d}.png", image)
        if board := self._tensorboard(step):
            board.image(step, name, image)

    def event(self, name: str, step: int, **facts: Any) -> None:
        """Adds a happening (`start`, `resume`, `save`, `stop`, ...); on the disk when this returns."""
        if self._active:
            row = {"time": time.time(), "event": name, "step": int(step), **facts}
            self._events.add(row, sync=True)

    def close(self) -> None:
        """Closes the files; a second call does nothing."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._active:
            self._metrics.close()
            self._events.close()
            self._active = False

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _tensorboard(self, step: int) -> _Board | None:
        """The event file, made at the first row, whose step tells what a resumed run repeats."""
        if self._board is None:
            try:
                self._board = _Board(self._folder / TENSORBOARD, step)
            except ImportError:
                logging.log_first_n(
                    logging.WARNING,
                    "tensorboardX is not installed: no TensorBoard files (extra pretrain).",
                    1,
                )
        return self._board


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows of a JSON-lines file, and how many lines are no row (torn by a kill); a missing file is empty.

    Raises:
      InputError: code `unreadable` when there is a file that cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", code="unreadable") from error
    rows, torn = [], 0
    for line in filter(None, lines):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            torn += 1
    return rows, torn


class _Rows:
    """Appends JSON objects to a file, one write a line."""

    def __init__(self, path: Path):
        self._path = path

        def open_file() -> int:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

        self._file = _write(path, open_file)
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def add(self, row: Mapping[str, Any], sync: bool = False) -> None:
        text = json.dumps(_plain(row), allow_nan=False, separators=(", ", ": "))
        data = b"\n" * self._torn + text.encode() + b"\n"

        def write() -> None:
            self._torn = True  # until the whole line is there
            if os.write(self._file, data) != len(data):
                raise OSError("the line was cut, the disk may be full")
            self._torn = False
            if sync:
                os.fsync(self._file)

        _write(self._path, write)

    def close(self) -> None:
        os.close(self._file)


class _Board:
    """One TensorBoard event file, written at once and by this thread."""

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._path, self._summary, self._event = folder, summary, Event
        suffix = f".{os.getpid()}.{time.time_ns()}"  # the library overwrites a file of the same second

        def open_file() -> EventsWriter:
            folder.mkdir(parents=True, exist_ok=True)
            return EventsWriter(str(folder / "events"), suffix)

        self._file = _write(folder, open_file)
        # what an earlier part of the run wrote from this step on is replaced
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=first_step, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        parts = [self._summary.scalar(name, value) for name, value in values.items()]
        if parts:
            merged = parts[0]
            for part in parts[1:]:
                merged.MergeFrom(part)
            self._add(self._event(step=step, summary=merged))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        self._add(self._event(step=step, summary=self._summary.image(name, image, dataformats="HWC")))

    def close(self) -> None:
        _write(self._path, self._file.close)

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()

        def write() -> None:
            self._file.write_event(event)
            self._file.flush()

        _write(self._path, write)


def _write(path: Path, action: Any) -> Any:
    try:
        return action()
    except OSError as error:
        raise InputError(
            f"writing {path} failed ({error.strerror or error})",
            fix="check free space and permissions",
            code="write_failed",
        ) from error


def _finite(value: float | None) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """JSON's own types: arrays become lists, paths and other objects text, non-finite numbers null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
