"""Shards built side by side, each in a process of its own that ends with its parent."""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any


def end_with_parent() -> None:
    """This process leaves Ctrl-C to its parent, and ends when that ends, even by kill -9 (on Linux)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _run(build: Callable[..., None], k: int, args: tuple[Any, ...]) -> None:
    end_with_parent()
    try:
        build(k, *args)
    except Exception as error:
        print(f"shard {k}: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


def build_shards(
    shards: Iterator[int],
    build: Callable[..., None],
    args: Callable[[int], tuple[Any, ...]],
    done: Callable[[int], None],
    workers: int,
) -> None:
    """Runs `build(k, *args(k))` for each k, at most `workers` at a time.

    Args:
      shards: asked for the next k whenever a process is free; may end by what `done` has seen.
      build: a module-level function (processes are spawned).
      args: k -> what `build` gets beside k.
      done: called in this process after each shard.
      workers: 0 builds in this process.

    Raises:
      RuntimeError: a shard failed; its error is on stderr. The others are stopped.
    """
    if workers == 0:
        for k in shards:
            build(k, *args(k))
            done(k)
        return
    context = mp.get_context("spawn")
    running: dict[int, Any] = {}
    try:
        while True:
            while len(running) < workers:
                following = next(shards, None)
                if following is None:
                    break
                running[following] = context.Process(target=_run, args=(build, following, args(following)))
                running[following].start()
            if not running:
                return
            wait([process.sentinel for process in running.values()])
            for k in [k for k, process in running.items() if not process.is_alive()]:
                process = running.pop(k)
                process.join()
                if process.exitcode:
                    raise RuntimeError(f"shard {k} could not be built (exit code {process.exitcode})")
                done(k)
    finally:
        for process in running.values():
            process.kill()
            process.join()
