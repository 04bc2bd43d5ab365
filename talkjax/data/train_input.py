"""Training input of the general mapping and the general refiner (`grain_input.GrainInput` over a corpus).

source = mapping_input(corpus, batch=64, seed=0, process_index=1, process_count=4)
for batch in source.batches(first_step=1200): ...
"""

from __future__ import annotations

from pathlib import Path

from talkjax.data.corpora.corpus import SpeechItems, corpus_digest, mapping_scales
from talkjax.data.grain_input import THREADS, GrainInput
from talkjax.data.mapping_batches import Sequences
from talkjax.data.refiner_rows import RefinerRows, RefinerSizes, refiner_sizes
from talkjax.tasks.mapping_general import SEQUENCE_FRAMES

__all__ = [
    "RefinerSizes",
    "corpus_digest",
    "mapping_input",
    "mapping_scales",
    "refiner_input",
    "refiner_sizes",
]


def mapping_input(
    corpus: str | Path,
    *,
    batch: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = THREADS,
    versions: int = 3,
    n_frames: int = SEQUENCE_FRAMES,
    split: str = "train",
) -> GrainInput:
    """Sequences for `tasks.mapping_general` (`GeneralBatch`).

    Args:
      corpus: of a builder of utterances, or the npz shards of `launch.build_corpus`.
      versions: in how many rooms (the first is none) each utterance is heard.

    Raises:
      InputError: no such corpus, or a batch that does not divide.
    """
    sequences = Sequences(SpeechItems(corpus, split, versions, seed), n_frames, seed)
    return GrainInput(sequences, batch, process_index, process_count, workers, threads)


def refiner_input(
    corpus: str | Path,
    *,
    batch: int,
    seed: int,
    preset: str = "lite",
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = THREADS,
    split: str = "train",
    augment: bool = True,
    n_values: int = 512,
) -> GrainInput:
    """Frames for `tasks.refiner_lite` (`RefinerBatch`) or `tasks.refiner_paper` (`PaperBatch`), uint8.

    Args:
      corpus: of a builder of frames.
      n_values: preset "paper": length of the identity feature.

    Raises:
      InputError: no such corpus, unknown preset, or a batch that does not divide.
    """
    rows = RefinerRows(corpus, batch, seed, preset, split=split, augment=augment, n_values=n_values)
    return GrainInput(rows, batch, process_index, process_count, workers, threads)
