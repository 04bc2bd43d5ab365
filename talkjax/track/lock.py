"""One writer per identity: an advisory lock that the system itself releases when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from talkjax.errors import InputError


@contextlib.contextmanager
def file_lock(
    path: Path, *, shared: bool = False, wait: bool = False, what: str = "folder"
) -> Iterator[None]:
    """Holds `flock` on `path`, which is made if needed, and writes who holds it into the file.

    Args:
      path: lock file; it stays behind (removing it would let two processes lock different files).
      shared: several shared holders may be at work at once, never beside an exclusive one.
      wait: wait for the lock instead of failing; only for locks that are held for a moment.
      what: name of the thing in the message.

    Raises:
      InputError: (code `locked`) when another process holds it and `wait` is false; names that process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            raise InputError(
                f"{what} is in use by {holder}", fix="wait until it ends, then run this again", code="locked"
            ) from None
        if not _is_same_file(descriptor, path):
            raise InputError(f"{what} was deleted by another process meanwhile", code="locked")
        if not shared:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that was locked (a deleting process may have unlinked it)."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
