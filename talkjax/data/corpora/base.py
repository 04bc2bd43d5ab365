"""What all builders share: array_record files in the order of the examples, and the index beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from talkjax.data.corpora.index import INDEX, write_index
from talkjax.errors import InputError

LICENCE_NOTE = "The pictures and sounds keep the terms of their source; see docs/corpora.md."


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder of one kind ("mapping" or "refiner") that needs no TensorFlow.

    Args:
      source: folder that it is made from; else `manual_dir` of the download config.
    """

    VERSION = tfds.core.Version("1.0.0")
    # found by tensorflow-datasets through importlib_resources, which it does not require
    code_path = epath.Path(__file__)
    KIND = "mapping"
    ABOUT = ""
    HOMEPAGE = ""
    CITATION = ""

    def __init__(self, *, source: str | os.PathLike[str] | None = None, **kwargs: Any):
        self.source = None if source is None else Path(source)
        kwargs.setdefault("file_format", "array_record")  # the only writer without TensorFlow that reads back
        super().__init__(**kwargs)

    def _features(self) -> Any:
        from talkjax.data.corpora.records import mapping_features

        return mapping_features()

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.ABOUT}\n{LICENCE_NOTE}",
            features=self._features(),
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
            disable_shuffling=True,  # windows are neighbours on disk; training shuffles by number
        )

    def root(self, dl_manager: Any) -> Path:
        """The source folder; InputError where there is none."""
        folder = self.source if self.source is not None else Path(dl_manager.manual_dir)
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder", fix="give the folder of the corpus", code="no_clips")
        return folder

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _generate_examples(self, examples: Iterator[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from examples

    def build(self) -> Path:
        """Builds, or finishes, the corpus and its index; returns the folder to train from."""
        config = tfds.download.DownloadConfig(manual_dir=self.source, try_download_gcs=False)
        self.download_and_prepare(download_config=config)
        return Path(self.data_dir)

    def download_and_prepare(self, **kwargs: Any) -> None:
        super().download_and_prepare(**kwargs)
        if not (Path(self.data_dir) / INDEX).exists():
            write_index(self, self.KIND)
