"""Work ahead of whoever consumes it: how the stages of a video run beside each other, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Generator[T, None, None], depth: int = 2) -> Generator[T, None, None]:
    """The items of a generator, made by a thread of their own up to `depth` before they are asked for.

    What is made does not change: one thread runs the generator, in order. An exception arrives where its
    item would have; when the consumer stops early, the generator is closed after the item in work.
    """
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[T]] = deque(pool.submit(next, items, _END) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(pool.submit(next, items, _END))
                yield item
        finally:
            for future in pending:
                future.cancel()
            pool.submit(items.close).result()
