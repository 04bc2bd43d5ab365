"""Real training processes on this machine, to be harmed.

Started by `subprocess`, not by a shell's `&`: a shell makes background jobs ignore SIGINT, and tests of
Ctrl-C then pass without meaning. Ended by SIGKILL, which is the only signal that a frozen JAX process cannot
swallow.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import portpicker

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "goldens" / "speech_corpus"
RUN_ID = "run"
QUICK = {"batch": 4, "versions": 1, "steps": 40, "save_every": 5, "log_every": 1, "eval_every": 10_000}


class Cluster:
    """The processes of one run; use as a context manager, which leaves none behind."""

    def __init__(
        self,
        workdir: pathlib.Path,
        n: int = 2,
        devices: int = 1,
        *,
        heartbeat: int = 10,
        main: Sequence[str] = ("-m", "launch.train"),
        corpora: Sequence[pathlib.Path] = (CORPUS,),
        prefix: Sequence[str] = (),
        **settings: Any,
    ):
        self.workdir, self.folder = workdir, workdir / RUN_ID
        port = portpicker.pick_unused_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs: list[pathlib.Path] = []
        workdir.parent.mkdir(parents=True, exist_ok=True)
        for k in range(n):
            log = workdir.parent / f"{workdir.name}-{len(list(workdir.parent.glob('*.log')))}-{k}.log"
            self.logs.append(log)
            command = [
                *prefix,
                sys.executable,
                *main,
                "--config=configs/mapping_general.py",
                f"--workdir={workdir}",
                f"--run_id={RUN_ID}",
                f"--corpus={corpora[k % len(corpora)]}",
                f"--distributed={'env' if n > 1 else 'none'}",
                f"--host_devices={devices}",
                f"--heartbeat_seconds={heartbeat}",
                *(f"--set={name}={value}" for name, value in (QUICK | settings).items()),
            ]
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "TALKJAX_COORDINATOR": f"127.0.0.1:{port}",
                "TALKJAX_NUM_PROCESSES": str(n),
                "TALKJAX_PROCESS_ID": str(k),
                "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            with open(log, "wb") as output:
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
                    )
                )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def wait(self, seconds: float) -> list[int]:
        """Exit codes of all; fails, with the logs, when one is still there after `seconds`."""
        end = time.monotonic() + seconds
        for process in self.processes:
            try:
                process.wait(max(end - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"still there after {seconds} s\n{self.text()}") from None
        return [process.returncode for process in self.processes]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        """Until the condition is true; fails when all have ended before, or after `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            alive = any(process.poll() is None for process in self.processes)
            assert alive and time.monotonic() < end, f"it did not happen\n{self.text()}"
            time.sleep(0.01)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: max(losses(self.folder), default=0) >= step)

    def signal(self, k: int, number: signal.Signals) -> None:
        self.processes[k].send_signal(number)

    def text(self) -> str:
        """Ends of the logs."""
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in self.logs)


def rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Whole rows of a JSON-lines file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def losses(folder: pathlib.Path) -> dict[int, str]:
    """Finished step -> loss, as exact text; of repeated rows the last."""
    return {
        row["step"]: float(row["loss"]).hex()
        for row in rows(folder / "metrics.jsonl")
        if row.get("loss") is not None
    }


def events(folder: pathlib.Path, name: str) -> list[dict[str, Any]]:
    return [row for row in rows(folder / "events.jsonl") if row["event"] == name]


def checkpoints(folder: pathlib.Path) -> list[int]:
    return sorted(int(p.name[5:]) for p in (folder / "checkpoints").glob("step_*"))
