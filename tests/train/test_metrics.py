"""Rows, pictures and TensorBoard files of a run: read back by other means, torn, full, resumed."""

from __future__ import annotations

import json
import math
import os
import pathlib
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.train.metrics import MetricsWriter, read_rows


def _events(folder: pathlib.Path) -> list:
    """The events of a run, read record by record from the documented framing of TensorBoard files."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(folder.glob("tensorboard/*"), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def test_rows_are_plain_json_and_not_finite_is_null(tmp_path):
    with MetricsWriter(tmp_path / "run") as writer:
        writer.scalars(1, {"loss": np.float32(0.5), "mfu": None, "gradient": math.nan, "scale": -math.inf})
        writer.scalars(2, {"loss": 0.25})
        writer.event(
            "save", 2, path=pathlib.Path("step_00000002"), seconds=np.float64("inf"), ids=np.arange(2)
        )
    one, two = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {k: v for k, v in one.items() if k != "time"} == {
        "step": 1, "loss": 0.5, "mfu": None, "gradient": None, "scale": None
    }  # fmt: skip
    assert two["step"] == 2 and two["time"] >= one["time"] > 1.6e9
    (event,), torn = read_rows(tmp_path / "run/events.jsonl")
    assert torn == 0 and event["event"] == "save" and event["path"] == "step_00000002"
    assert event["seconds"] is None and event["ids"] == [0, 1]


def test_tensorboard_holds_the_same_and_a_resumed_run_purges_what_it_repeats(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    with MetricsWriter(tmp_path) as writer:
        writer.scalars(5, {"loss": 2.0, "skipped": None})
        writer.image(5, "faces", picture)
    with MetricsWriter(tmp_path) as writer:
        writer.scalars(4, {"loss": 3.0})
    assert (cv2.imread(str(tmp_path / "panels/faces_00000005.png"))[..., ::-1] == picture).all()
    events = [e for e in _events(tmp_path) if not e.file_version]
    kinds = [(e.step, e.WhichOneof("what")) for e in events]
    assert kinds == [(5, "session_log"), (5, "summary"), (5, "summary"), (4, "session_log"), (4, "summary")]
    values = {(e.step, v.tag): v for e in events for v in e.summary.value}
    assert values[5, "loss"].simple_value == 2.0 and values[4, "loss"].simple_value == 3.0
    assert (5, "skipped") not in values
    stored = np.frombuffer(values[5, "faces"].image.encoded_image_string, np.uint8)
    assert (cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1] == picture).all()


def test_a_torn_line_costs_only_itself(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.scalars(2, {"loss": 2.0})
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 7)
    with MetricsWriter(tmp_path) as writer:
        writer.scalars(2, {"loss": 2.5})
        writer.scalars(3, {"loss": 3.0})
    rows, torn = read_rows(path)
    assert [row["loss"] for row in rows] == [1.0, 2.5, 3.0] and torn == 1


def test_only_the_active_process_writes(tmp_path):
    writer = MetricsWriter(tmp_path / "run", active=False)
    writer.scalars(1, {"loss": 1.0})
    writer.image(1, "x", np.zeros((2, 2, 3), np.uint8))
    writer.event("start", 0)
    writer.close()
    assert not (tmp_path / "run").exists()
    assert read_rows(tmp_path / "run/metrics.jsonl") == ([], 0)


def test_a_full_disk_is_an_error_and_not_a_wait(tmp_path):
    """A file-size limit stands for the full disk: the write is cut, then refused."""
    source = (
        "import pathlib, sys\n"
        "from talkjax.train.metrics import MetricsWriter\n"
        "writer = MetricsWriter(pathlib.Path(sys.argv[1]))\n"
        "for step in range(1, 1000): writer.scalars(step, {'loss': 1 / step})\n"
    )
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "limited", sys.executable, "-c", source, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "InputError: writing" in done.stderr and "free space" in done.stderr
    rows, torn = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) > 20 and torn <= 1


def test_folders_and_names_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"writing .*file/metrics\.jsonl failed"):
        MetricsWriter(tmp_path / "file")
    with MetricsWriter(tmp_path / "run") as writer, pytest.raises(ValueError, match="picture name"):
        writer.image(1, "../escape", np.zeros((2, 2, 3), np.uint8))
