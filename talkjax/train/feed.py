"""Batches on the devices, made ahead of use by a thread."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from talkjax.train import sharding

PREFETCHED = 2


class TrainInput(Protocol):
    """Batches as a pure function of the step (talkjax/data/grain_input.py)."""

    @property
    def spec(self) -> Any: ...

    def batches(self, first_step: int) -> Iterator[Any]: ...


class Feed:
    """Batches on the devices, made ahead by a thread."""

    def __init__(self, source: TrainInput, first: int, shardings: Any, rows: sharding.Rows):
        self._queue: queue.Queue[Any] = queue.Queue(PREFETCHED)
        self._closed = threading.Event()
        self._waited = 0.0
        self._thread = threading.Thread(target=self._fill, args=(source, first, shardings, rows), daemon=True)
        self._thread.start()

    def _fill(self, source: TrainInput, first: int, shardings: Any, rows: sharding.Rows) -> None:
        try:
            for batch in itertools.chain(source.batches(first), (EOFError("the input ended"),)):
                if isinstance(batch, BaseException):
                    raise batch
                self._put(sharding.to_global(batch, shardings, rows))
                if self._closed.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def next(self) -> Any:
        """The next batch; raises what the input raised."""
        begin = time.monotonic()
        item = self._queue.get()
        self._waited += time.monotonic() - begin
        if isinstance(item, BaseException):
            raise item
        return item

    def waited(self) -> float:
        """Seconds that training waited for input since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=10)
