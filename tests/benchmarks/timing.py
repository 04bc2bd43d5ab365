"""Minima over alternated repeats: the only way timings on a shared machine can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import jax


def alternated_minima(cases: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each case's fastest run, all cases taking turns `repeats` times.

    Every case runs twice before (compiling, warming caches); what it returns is waited for.
    """
    for run in cases.values():
        for _ in range(2):
            jax.block_until_ready(run())
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(repeats):
        for name, run in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best
