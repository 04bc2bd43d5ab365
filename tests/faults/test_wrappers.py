"""The real training under launch/retry.sh and launch/local.sh: a killed process ends all, all start again."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from talkjax.train.run_state import read_run
from tests.faults.harness import CORPUS, ROOT

pytestmark = pytest.mark.faults


def _rank(number: int, workdir: pathlib.Path) -> int:
    """Process id of a rank of the run in `workdir`."""
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            variables = (path / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        trains = f"--workdir={workdir}" in words and "launch.train" in words
        if trains and f"TALKJAX_PROCESS_ID={number}" in variables:
            return int(path.name)
    raise AssertionError(f"rank {number} does not run")


def test_a_killed_process_costs_a_restart_and_nothing_else(tmp_path):
    workdir = tmp_path / "runs"
    words = [
        "bash", "launch/retry.sh", "--max_crashes=1", "--backoff=1", "--",
        "bash", "launch/local.sh", "--processes=2", "--devices=1", "--grace=1", "--",
        "--config=configs/mapping_general.py", f"--corpus={CORPUS}", f"--workdir={workdir}", "--run_id=a",
        "--set=steps=40", "--set=batch=4", "--set=versions=1", "--set=save_every=5", "--set=log_every=1",
    ]  # fmt: skip
    environment = os.environ | {
        "TALKJAX_PYTHON": sys.executable,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with open(tmp_path / "output", "wb") as output:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 120
        while not (workdir / "a/checkpoints/step_00000010").exists():
            assert time.monotonic() < end and process.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.02)
        os.kill(_rank(1, workdir), signal.SIGKILL)
        assert process.wait(timeout=120) == 0, (tmp_path / "output").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    text = (tmp_path / "output").read_text()
    assert "rank 1 of 2 ended with 137: signal KILL" in text and "crash 1 of at most 1" in text
    run = read_run(workdir / "a", verify=True)
    assert (run.state, run.steps, run.counts["resume"]) == ("finished", 40, 1)
    assert not any(c.problem for c in run.checkpoints) and run.torn_lines <= 1
    steps = [json.loads(line)["step"] for line in (workdir / "a/metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 41))
