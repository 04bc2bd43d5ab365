"""What a verb that computes needs around it: flags that become environment, bars, the compile cache."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from talkjax.assets.mediapipe import ASSETS_ENV, user_cache_dir
from talkjax.cli.command import Arguments
from talkjax.cli.heap import keep_freed_memory
from talkjax.cli.progress import terminal_progress
from talkjax.progress import Progress


def begin(arguments: Arguments) -> Progress:
    """Puts `--assets_dir`, the compile cache and reuse of memory in place before JAX starts; returns the
    bars to draw."""
    keep_freed_memory()
    if arguments["assets_dir"]:
        os.environ[ASSETS_ENV] = str(Path(arguments["assets_dir"]).expanduser().absolute())
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compile_cache_dir()))
    return terminal_progress(arguments["progress"])


def compile_cache_dir() -> Path:
    """Where compiled programs are kept between runs: no pictures, sound or weights, so none of a person.

    One folder per kind of processor, since a home folder may be shared by machines that differ.
    """
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
        )
    except (OSError, StopIteration):
        flags = platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
    return user_cache_dir().parent / "compiled" / kind
