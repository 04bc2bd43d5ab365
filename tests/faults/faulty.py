"""`launch.train`, harmed from inside: python -m tests.faults.faulty, with
TALKJAX_FAULT=KIND:FIRST:LAST:PROCESS.

Batches FIRST to LAST (counted as the input counts them) of that process, or of all (`-`), do harm: `raise` an
exception, `nan` in the sound, `slow` (half a second).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import app

from launch import mapping_general, train


class Faulty:
    """An input with a fault."""

    def __init__(self, good: Any):
        self._good = good
        self.spec = good.spec
        kind, first, last, process = os.environ["TALKJAX_FAULT"].split(":")
        self._kind, self._first, self._last = kind, int(first), int(last)
        self._here = process in ("-", os.environ["TALKJAX_PROCESS_ID"])

    def batches(self, first_step: int) -> Iterator[Any]:
        for place, batch in enumerate(self._good.batches(first_step), first_step):
            if not (self._here and self._first <= place <= self._last):
                yield batch
            elif self._kind == "raise":
                raise RuntimeError("a bug on this host")
            elif self._kind == "nan":
                yield batch._replace(rows=np.full_like(batch.rows, np.nan))
            else:
                time.sleep(0.5)
                yield batch


if __name__ == "__main__":
    make_input: Any = mapping_general.mapping_input
    mapping_general.mapping_input = lambda *args, **kwargs: Faulty(make_input(*args, **kwargs))
    app.run(train.main)
