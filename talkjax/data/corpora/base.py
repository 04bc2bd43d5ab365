"""What all builders share: array_record files in the order of the examples, and the index beside them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from talkjax.data.corpora import frame_jobs, speech_jobs
from talkjax.data.corpora.index import INDEX, write_index
from talkjax.data.corpora.records import STORED, mapping_features, refiner_features
from talkjax.data.preparation import (
    MAX_REJECT_RATIO,
    Job,
    Preparer,
    do_job,
    read_report,
    result_path,
    settle,
)
from talkjax.errors import InputError
from talkjax.infer.descriptors import N_FEATURES, N_VALUES
from talkjax.track.durable import read_json

LICENCE_NOTE = "The pictures and sounds keep the terms of their source; see docs/corpora.md."
Example = tuple[str, dict[str, Any]]


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder that needs no TensorFlow.

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
        kwargs.setdefault("file_format", "array_record")  # the only one that needs no TensorFlow to read
        super().__init__(**kwargs)

    @property
    def kind(self) -> str:
        """What one example is: "mapping" (an utterance) or "refiner" (a frame)."""
        return self.KIND

    def _features(self) -> Any:
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

    def root(self, dl_manager: Any = None) -> Path:
        """The source folder; InputError where there is none."""
        if self.source is None and dl_manager is None:
            raise InputError("the folder of the clips is not given", fix="--source=DIR", code="no_clips")
        folder = self.source if self.source is not None else Path(dl_manager.manual_dir)
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder", fix="give the folder of the corpus", code="no_clips")
        return folder

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[Example]:
        yield from examples

    def build(self) -> Path:
        """Builds, or finishes, the corpus and its index; returns the folder to train from."""
        tfds.disable_progress_bar()
        for leftover in Path(self.data_dir).parent.glob("incomplete.*"):  # of a killed run
            shutil.rmtree(leftover, ignore_errors=True)
        self.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=self.source))
        return Path(self.data_dir)

    def download_and_prepare(self, **kwargs: Any) -> None:
        super().download_and_prepare(**kwargs)
        folder = Path(self.data_dir)
        if not (folder / INDEX).exists():
            write_index(self, self.kind, self.made_from())
        elif self.source is None and self.MANUAL_DOWNLOAD_INSTRUCTIONS:
            return  # opened without its source
        elif read_json(folder / INDEX).get("made_from") != self.made_from():
            raise InputError(
                f"{folder} was written from other clips or settings than there are now",
                fix="delete that folder, or give another --out",
                code="other_settings",
            )

    def made_from(self) -> str:
        """Digest of what the examples are made from."""
        raise NotImplementedError


class PreparedBuilder(CorpusBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder whose examples come from jobs (`data.preparation`): what `launch.prepare_corpus` prepared,
    and, for jobs that nobody did, done here.

    Args:
      out: folder of the prepared clips; else the data dir.
      manifest: text file with the names of all clips that there should be; those that lack are listed as
        missing, others are not taken.
      max_reject_ratio: share of the clips that may be rejected.
    """

    def __init__(
        self,
        *,
        out: str | os.PathLike[str] | None = None,
        manifest: str | os.PathLike[str] | None = None,
        max_reject_ratio: float = MAX_REJECT_RATIO,
        **kwargs: Any,
    ):
        self.manifest = None if manifest is None else Path(manifest)
        self.max_reject_ratio = max_reject_ratio
        self._out = out
        super().__init__(**kwargs)

    @property
    def out(self) -> Path:
        """Where prepared clips and `rejects.jsonl` lie."""
        return Path(self._out) if self._out is not None else Path(self._data_dir_root)

    def jobs(self, root: Path) -> tuple[list[Job], list[str]]:
        """(what there is to do, what the corpus should hold and does not)."""
        raise NotImplementedError

    def preparer(self, root: Path) -> Preparer:
        """How it is done."""
        return speech_jobs.SpeechJobs(root, self.name)

    def examples(self, jobs: Sequence[Job]) -> Iterator[Example]:
        """The examples of finished jobs, in order."""
        for job in jobs:
            yield from speech_jobs.utterance_examples(result_path(self.out, job))

    def made_from(self) -> str:
        reports = [read_report(self.out, job) or {} for job in self.jobs(self.root())[0]]
        facts = [[report.get(name) for name in ("clip", "key", "code")] for report in reports]
        return hashlib.sha256(json.dumps([facts, self.layout()]).encode()).hexdigest()

    def layout(self) -> str:
        """How examples are stored, beyond what their jobs' keys say."""
        return ""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        root = self.source = self.root(dl_manager)
        jobs, missing = self.jobs(root)
        preparer = self.preparer(root)
        for job in jobs:
            if read_report(self.out, job) is None:
                do_job(preparer, self.out, job)
        settle(self.out, jobs, missing, self.max_reject_ratio)
        splits: dict[str, list[Job]] = {}
        for job in jobs:
            if not (read_report(self.out, job) or {})["code"]:
                splits.setdefault(job.split, []).append(job)
        return {name: self._generate_examples(self.examples(part)) for name, part in splits.items()}


class FrameBuilder(PreparedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder of refiner frames.

    Args:
      size: side of the crop in pixels.
      n_frames: frames of each person.
      people: folder that keeps the prepared people; None: none are kept.
      pictures: one of `records.STORED`: "jpeg", "small" (a third of the space, for a corpus that travels) or
        "raw" (exact; four times the space, and no quicker to read).
    """

    KIND = "refiner"

    def __init__(
        self,
        *,
        size: int = 256,
        n_frames: int = 300,
        people: str | os.PathLike[str] | None = None,
        pictures: str = "jpeg",
        **kwargs: Any,
    ):
        if pictures not in STORED:
            raise InputError(f"pictures {pictures!r}", expected=f"one of {', '.join(STORED)}")
        if not 32 <= size <= 1024 or size % 32 or n_frames < 50:
            raise InputError(
                f"size {size}, {n_frames} frames", expected="a multiple of 32 in 32..1024, at least 50 frames"
            )
        self.size, self.n_frames, self.pictures = size, n_frames, pictures
        self.people = None if people is None else Path(people)
        super().__init__(**kwargs)

    def layout(self) -> str:
        return self.pictures

    def _features(self) -> Any:
        return refiner_features(self.size, N_FEATURES, N_VALUES, self.pictures)

    def preparer(self, root: Path) -> Preparer:
        return frame_jobs.FrameJobs(root, self.people, self.size, self.n_frames)

    def examples(self, jobs: Sequence[Job]) -> Iterator[Example]:
        number = itertools.count()
        for job in jobs:
            path = result_path(self.out, job)
            yield from frame_jobs.frame_examples(path, next(number), job, self.pictures)


def listed(names: list[str], manifest: Path | None, root: Path) -> tuple[list[str], list[str]]:
    """(names to take, names that lack), by a manifest: one name a line, paths below the root, # comments.

    Raises:
      InputError: the manifest cannot be read, or it and the folder have nothing in common.
    """
    if manifest is None:
        return names, []
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"manifest {manifest} cannot be read: {error}", code="unreadable") from None
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    there = set(names)
    taken = [name for name in wanted if name in there]
    if not taken:
        raise InputError(
            f"{root} holds none of the {len(wanted)} clips of {manifest.name}",
            expected=f"paths like {names[0] if names else 'sub/clip.mp4'}",
            code="no_clips",
        )
    return taken, [name for name in wanted if name not in there]
