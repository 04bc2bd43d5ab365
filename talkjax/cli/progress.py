"""Progress bars on the terminal: elapsed and remaining time of every stage, on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from talkjax.progress import SILENT, Progress, Ticker

_WORTH_KEEPING_SECONDS = 1.0


def terminal_progress(wanted: bool | None = None) -> Progress:
    """Bars for a person who is watching.

    Args:
      wanted: None draws them only when stderr is a terminal.
    """
    return _bar if (sys.stderr.isatty() if wanted is None else wanted) else SILENT


@contextlib.contextmanager
def _bar(stage: str, total: int | None = None) -> Iterator[Ticker]:
    from tqdm import tqdm  # costs start-up time that --help should not pay

    start = time.monotonic()
    interval = 0.2 if sys.stderr.isatty() else 5.0
    with tqdm(
        total=total, desc=f"{stage:<14}", mininterval=interval, dynamic_ncols=True, file=sys.stderr
    ) as bar:
        yield bar
        bar.leave = time.monotonic() - start > _WORTH_KEEPING_SECONDS  # short stages leave no line behind
