"""Training input from any function of a row: host-local numpy batches made ahead by grain.

Row r of the global batch of step s depends on (seed, s, r) only. So any number of processes makes the same
global batches, a resumed run goes on exactly, and no state of the input is ever saved (grain's own
checkpoints hold only for the same number of processes: reliability.md, finding 6).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from talkjax.errors import InputError

THREADS = 8
AHEAD = 16
"""Batches that are made ahead of use, by threads."""
_NO_END = 2**48


class _LocalRows:
    """This process's rows one after the other, as grain's random-access source."""

    def __init__(self, row: Callable[[int, int], Any], first_step: int, first_row: int, rows: int):
        self._row, self._first_step, self._first_row, self._rows = row, first_step, first_row, rows

    def __len__(self) -> int:
        return _NO_END

    def __getitem__(self, i: Any) -> Any:
        step, row = divmod(int(i), self._rows)
        return self._row(self._first_step + step, self._first_row + row)

    def __repr__(self) -> str:
        return f"rows {self._first_row} + {self._rows}"


def stacked(rows: Sequence[Any]) -> Any:
    """Rows of one tree as one batch: leaves get a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


@dataclasses.dataclass(frozen=True)
class GrainInput:
    """Input of the training loop (`train.feed.TrainInput`) from any row function.

    Attributes:
      row: (step, row of the global batch) -> tree of arrays without a leading axis. With worker processes it
        must be picklable.
      batch: rows of the global batch.
      process_index, process_count: this process among all that read the same batches.
      workers: processes that make batches; 0 makes them in threads of this process.
      threads: threads per process that makes batches.
    """

    row: Callable[[int, int], Any]
    batch: int
    process_index: int = 0
    process_count: int = 1
    workers: int = 0
    threads: int = THREADS

    def __post_init__(self) -> None:
        if self.batch < 1 or self.batch % self.process_count:
            raise InputError(
                f"batch {self.batch} over {self.process_count} processes",
                expected="a multiple of the number of processes",
                fix=f"--set=batch={-(-max(self.batch, 1) // self.process_count) * self.process_count}",
            )
        if not 0 <= self.process_index < self.process_count or self.workers < 0 or self.threads < 1:
            raise InputError(
                f"process {self.process_index} of {self.process_count}, {self.workers} workers, "
                f"{self.threads} threads"
            )

    @property
    def spec(self) -> Any:
        """Shapes and dtypes of the global batch, from its first row."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.batch, *np.shape(leaf)), np.asarray(leaf).dtype),
            self.row(0, 0),
        )

    def batches(self, first_step: int) -> Iterator[Any]:
        """This process's rows `[batch / process_count ...]` of steps first_step, ...; never ends."""
        rows = self.batch // self.process_count
        source = _LocalRows(self.row, first_step, self.process_index * rows, rows)
        data = grain.MapDataset.source(source).batch(rows, drop_remainder=True, batch_fn=stacked)
        ahead = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=max(AHEAD, self.threads))
        made = data.to_iter_dataset(ahead)
        if self.workers:
            if not flags.FLAGS.is_parsed():  # grain reads them when it starts workers; a library has no argv
                flags.FLAGS.mark_as_parsed()
            made = made.mp_prefetch(grain.MultiprocessingOptions(self.workers, per_worker_buffer_size=2))
        return iter(made)
