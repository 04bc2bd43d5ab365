"""Who holds a run's lock (`talkjax/train/runtime.py`), without touching it."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path


def lock_holder(path: Path) -> str:
    """What the last holder wrote into the lock file, on one line; empty if there is none."""
    try:
        return " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""


def lock_is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock.

    Looks it up where Linux lists its locks: taking the lock for a moment, to see, could turn away a run that
    starts in that very moment.
    """
    try:
        status = os.stat(path)
    except OSError:
        return False
    try:
        listed = Path("/proc/locks").read_text()
    except OSError:
        return _try_lock(path)
    pid = re.search(r"pid (\d+)", lock_holder(path))
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for line in listed.splitlines():
        words = line.split()
        if "FLOCK" not in words or "->" in words:
            continue
        holder, place = words[words.index("FLOCK") + 3 : words.index("FLOCK") + 5]
        # overlaid file systems list another device than `stat` tells, hence the holder as a second witness
        if place.endswith(f":{status.st_ino}") and (
            place == f"{device}:{status.st_ino}" or (pid is not None and holder == pid.group(1))
        ):
            return True
    return False


def _try_lock(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
