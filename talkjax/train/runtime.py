"""Several processes as one run: start, agreement, locks, watchdog, ways to leave.

Every rule here answers a measured failure of the raw stack (reliability.md §0): an exception on one host
freezes the others for minutes, SIGTERM is swallowed, two runs in one folder destroy each other, hosts
disagree unseen.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from talkjax.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_RESUMABLE, InputError, TalkjaxError

HEARTBEAT_S = 30
"""A host that is silent for so long is dead; the default of 100 s is long for a job that restarts quickly."""
SHUTDOWN_S = 20
START_S = 300
COORDINATOR, COUNT, PROCESS = "TALKJAX_COORDINATOR", "TALKJAX_NUM_PROCESSES", "TALKJAX_PROCESS_ID"
_log = logging.getLogger("talkjax")


def start_distributed(how: str, *, heartbeat_s: int = HEARTBEAT_S, start_s: int = START_S) -> None:
    """Joins the processes of a run.

    Args:
      how: `none` (one process), `env` (the three TALKJAX_ variables), `auto` (SLURM, TPU pods, GKE and MPI
        are recognised by JAX itself).

    Raises:
      InputError: `env` without its variables.
    """
    if how == "none":
        return
    options: dict[str, Any] = {
        "heartbeat_timeout_seconds": heartbeat_s,
        "shutdown_timeout_seconds": SHUTDOWN_S,
        "initialization_timeout": start_s,
    }
    if how == "env":
        try:
            options["coordinator_address"] = os.environ[COORDINATOR]
            options["num_processes"] = int(os.environ[COUNT])
            options["process_id"] = int(os.environ[PROCESS])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"--distributed=env without a usable {error.args[0]}",
                expected=f"{COORDINATOR}=host:port, {COUNT} and {PROCESS}",
                fix="start the processes with launch/local.sh, or use --distributed=auto",
                code="no_cluster",
            ) from None
    jax.distributed.initialize(**options)


def is_first() -> bool:
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def gathered(value: np.ndarray) -> np.ndarray:
    """`[processes ...]`: the value of every process, on every process."""
    if jax.process_count() == 1:
        return np.asarray(value)[None]
    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))


def all_true(value: bool) -> bool:
    """Whether it is true on every process."""
    return bool(np.all(gathered(np.array(value))))


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def require_agreement(facts: dict[str, str]) -> None:
    """Refuses to go on when the processes differ in one of the facts.

    Raises:
      InputError: code `hosts_disagree`, on every process, naming the facts.
    """
    digests = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], np.uint8) for text in facts.values()]
    everywhere = gathered(np.stack(digests))
    odd = [name for k, name in enumerate(facts) if (everywhere[:, k] != everywhere[0, k]).any()]
    if odd:
        error = InputError(
            f"the processes of this run disagree on {', '.join(odd)}",
            expected="one command, one version of the code and one corpus on every host",
            fix="start all hosts with the same flags and files",
            code="hosts_disagree",
        )
        raise on_every_process(error)


def on_every_process(error: TalkjaxError) -> TalkjaxError:
    """Marks an error that all processes raise together, so that each may leave in good order."""
    error.everywhere = True
    return error


class RunLock:
    """Exclusive use of a run folder by one run, held until the process ends. Process 0 holds it for all.

    A lock of the operating system: it vanishes with its holder, however that dies. On file systems without
    locks (some object-store mounts) nothing is held.
    """

    def __init__(self, folder: Path):
        """Raises:
        InputError: another run holds the folder; on every process alike (call it on every process).
        """
        self._file: Any = None
        holder = ""
        if is_first():
            holder = self._acquire(folder / "LOCK")
        if not all_true(not holder):
            raise on_every_process(
                InputError(
                    f"{folder} is in use" + (f" by {holder}" if holder else ""),
                    expected="one run at a time in a run folder",
                    fix="wait for it, stop it, or give another --run_id",
                    code="locked",
                )
            )

    def _acquire(self, path: Path) -> str:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (held open as long as the lock)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            return file.read().strip() or "another process"
        except OSError as error:
            _log.warning("no lock on %s: %s", path, error)
        file.truncate(0)
        file.write(
            f"host {socket.gethostname()}, pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        )
        file.flush()
        self._file = file
        return ""


class Watchdog:
    """Ends the process, with a stack dump, when nothing has fed it for `seconds`.

    Without it, a host that hangs leaves its peers waiting in a collective without end. The limit must exceed
    the slowest honest step: compile, evaluation, save.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds

    def feed(self, patience: float = 1.0) -> None:
        """Begins to wait anew, `patience` times as long."""
        if self.seconds > 0:
            faulthandler.dump_traceback_later(self.seconds * patience, exit=True)

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()


class StopRequests:
    """Whether somebody wants the run to stop (SIGTERM, Ctrl-C), agreed between the processes.

    In one process the first signal is noted and the second acts as usual. In several, JAX's preemption
    service catches SIGTERM on any of them and names one step at which all stop; Ctrl-C is passed on as
    SIGTERM.
    """

    def __init__(self) -> None:
        self.exit_code = EXIT_RESUMABLE
        self._asked = threading.Event()
        self._several = jax.process_count() > 1
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        numbers = (signal.SIGINT,) if self._several else (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def at(self, step: int) -> bool:
        """Whether to stop at this step; every process must ask at every step."""
        if self._several:
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._asked.is_set()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESUMABLE
        self._asked.set()
        self._restore()
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


def leave(error: BaseException) -> NoReturn:
    """Ends the process for an error, with the exit code that says whether to try again.

    One of several processes that fails alone must vanish at once: while its interpreter shuts down it keeps
    sending heartbeats, and its peers wait (reliability.md §0.1).
    """
    code = error.exit_code if isinstance(error, TalkjaxError) else EXIT_BUG
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else EXIT_BUG
    elif isinstance(error, TalkjaxError):
        print(error, file=sys.stderr, flush=True)
    else:
        _log.error("the run ends: %s", error, exc_info=error)
    faulthandler.cancel_dump_traceback_later()
    alone = jax.distributed.is_initialized() and not (isinstance(error, TalkjaxError) and error.everywhere)
    if alone:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
        os._exit(code)
    sys.exit(code)
