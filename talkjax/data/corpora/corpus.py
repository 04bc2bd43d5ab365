"""Opens a corpus to train from: what a builder made, or the older npz shards of `launch.build_corpus`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.data.corpora.index import INDEX, encoded_pictures, index_digest, read_index
from talkjax.data.corpora.records import utterance_of
from talkjax.data.mapping_batches import Item, Moments, make_item
from talkjax.data.speech_corpus import MANIFEST, SpeechCorpus, Utterance
from talkjax.errors import InputError
from talkjax.tasks.mapping_general import GeneralScales

CACHED_ITEMS = 8192
"""About 150 kB each; the six hours of the generated corpus fit in three versions."""


def corpus_folder(corpus: str | Path) -> Path:
    """The folder with the index (or the npz manifest): `corpus` itself or the only one one or two levels
    below it, as tensorflow-datasets lays them out (DIR/NAME/1.0.0).

    Raises:
      InputError: none or several.
    """
    root = Path(corpus)
    if (root / INDEX).exists() or (root / MANIFEST).exists():
        return root
    found = sorted({path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/{INDEX}")})
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(root)) for p in found)
        raise InputError(
            f"{root} holds {f'several corpora ({names})' if found else 'no finished corpus'}",
            expected="a folder made by launch.prepare_corpus or launch.build_corpus",
            fix="name one of them" if found else "build it (docs/corpora.md); a stopped build goes on",
            code="no_corpus",
        )
    return found[0]


def corpus_digest(corpus: str | Path) -> str:
    """sha256 (hex) of the corpus's content, for the hash that a checkpoint is bound to."""
    folder = corpus_folder(corpus)
    if (folder / INDEX).exists():
        return index_digest(folder)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def examples(folder: Path, split: str, kind: str) -> tuple[Any, dict[str, Any], dict[str, np.ndarray]]:
    """(array_record reader, index, columns of the split); pictures come as encoded bytes.

    Raises:
      InputError: no such corpus, another kind, or no such split.
    """
    import tensorflow_datasets as tfds

    index, arrays = read_index(folder)
    if index["kind"] != kind or split not in index["splits"]:
        raise InputError(
            f"{folder} is a {index['kind']} corpus with splits {', '.join(index['splits'])}",
            expected=f"a {kind} corpus with {split}",
            code="wrong_corpus",
        )
    builder = tfds.builder_from_directory(folder)
    reader = builder.as_data_source(split, decoders=encoded_pictures(builder.info.features))
    columns = {k.removeprefix(split + "/"): v for k, v in arrays.items() if k.startswith(split + "/")}
    return reader, index, columns


class SpeechItems:
    """`mapping_batches.ItemSource` of a corpus on disk; what was read stays in memory, up to a bound."""

    voices: Sequence[str]
    lengths: np.ndarray
    versions: int

    def __init__(self, corpus: str | Path, split: str = "train", versions: int = 3, seed: int = 0):
        self.folder, self.split, self.versions, self.seed = corpus_folder(corpus), split, versions, seed
        self._open()

    def _open(self) -> None:
        self.item = functools.lru_cache(maxsize=CACHED_ITEMS)(self._item)
        if (self.folder / INDEX).exists():
            self._reader, index, columns = examples(self.folder, self.split, "mapping")
            names = index["splits"][self.split]["voices"]
            self.voices = [names[k] for k in columns["voice"]]
            self.lengths = columns["length"].astype(np.int64)
            return
        opened = SpeechCorpus.open(self.folder)
        place = opened.where(self.split)
        if not place:
            raise InputError(f"{self.folder} has no split {self.split}", code="wrong_corpus")
        self._reader = _Shards(opened, place)
        self.voices = [opened.entries[k].voice for k in place]
        self.lengths = np.array([opened.entries[k].n_frames for k in place], np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def utterance(self, k: int) -> Utterance:
        """The k-th utterance of the split."""
        found = self._reader[k]
        return found if isinstance(found, Utterance) else utterance_of(found)

    def _item(self, k: int, version: int) -> Item:
        return make_item(self.utterance(k), [version], self.seed, k)

    # worker processes open the files themselves
    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("folder", "split", "versions", "seed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()


class _Shards:
    """One split of an npz corpus by number."""

    def __init__(self, corpus: SpeechCorpus, place: list[int]):
        self._corpus, self._place = corpus, place

    def __getitem__(self, k: int) -> Utterance:
        found: Utterance = self._corpus[self._place[k]]
        return found


def mapping_scales(corpus: str | Path, split: str = "train") -> GeneralScales:
    """Mean and spread of the targets, as `tasks.mapping_general` wants them."""
    folder = corpus_folder(corpus)
    if (folder / INDEX).exists():
        _, _, columns = examples(folder, split, "mapping")
        return GeneralScales(*(columns[f"scales/{name}"] for name in GeneralScales._fields))
    moments = Moments()
    for utterance in SpeechCorpus.open(folder).select(split):
        valid = np.asarray(utterance.valid, bool)
        moments.add(utterance.channels[valid].astype(np.float32), utterance.exp[valid].astype(np.float32))
    return moments.scales()
