"""What a long stage tells about its progress: a protocol that any room may take, and its silent form.

The command line draws a bar (`cli/progress.py`); from Python, `SILENT` is the default and any callable of
the same shape can be passed instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Ticker(Protocol):
    """One running stage."""

    def update(self, n: int = 1) -> object:
        """Reports `n` further units (frames, steps) as done."""


class Progress(Protocol):
    """`with progress("landmarks", total=607) as ticker: ... ticker.update(1)`."""

    def __call__(self, stage: str, total: int | None = None) -> AbstractContextManager[Ticker]:
        """Opens a stage of `total` units (None: unknown) for the length of a `with` block."""


class _SilentTicker:
    def update(self, n: int = 1) -> object:
        return None


@contextlib.contextmanager
def _silent(stage: str, total: int | None = None) -> Iterator[Ticker]:
    yield _SilentTicker()


SILENT: Progress = _silent
"""Reports nothing."""
