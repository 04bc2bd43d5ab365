"""Whether a run's folder can be used, asked before anything slow: this module needs no JAX."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from talkjax.errors import InputError

SPACE_FACTOR = 2.5
"""Free space wanted before the first step, in sizes of the state: two checkpoints and one in the making."""


def probe_folder(folder: Path) -> None:
    """Makes the folder and writes a file into it, at once rather than at the first checkpoint.

    Raises:
      InputError: it cannot be written.
    """
    probe = folder / f".probe-{os.getpid()}-{socket.gethostname()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error})",
            expected="a folder that this user may write, shared by all hosts",
            fix="give another --workdir",
            code="read_only",
        ) from error


def require_space(folder: Path, state_bytes: int) -> None:
    """Refuses to begin when the checkpoints will not fit.

    Raises:
      InputError: code `disk_full`, with the bytes wanted and free.
    """
    free, wanted = shutil.disk_usage(folder).free, int(SPACE_FACTOR * state_bytes)
    if free < wanted:
        raise InputError(
            f"{folder} has {free:,} bytes free",
            expected=f"{wanted:,} for checkpoints ({SPACE_FACTOR:g} times the state)",
            fix="free some space, or give another --workdir",
            code="disk_full",
        )
