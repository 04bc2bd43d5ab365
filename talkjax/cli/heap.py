"""Keeps freed memory for the next call of a compiled program.

XLA on CPU allocates its temporary arrays anew for every call. Above a few MiB the C library maps fresh pages
for them each time and gives them back after it: on the refiner of one frame these page faults are a sixth of
all time. A process that computes frame after frame, or step after step, needs the same memory again at once.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
_KEPT = 2**31 - 1  # bytes; the parameter is an int
_PAD = 2**26


def keep_freed_memory() -> bool:
    """Sets glibc's malloc to reuse blocks of any size up to 2 GiB; False where there is no glibc.

    For whole processes of ours only: a library does not change its host's memory.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
        library.gnu_get_libc_version  # noqa: B018  (other C libraries have a mallopt that does nothing)
    except (OSError, AttributeError, TypeError):
        return False
    values = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: _KEPT, _TOP_PAD: _PAD}
    return all(bool(mallopt(name, value)) for name, value in values.items())
