"""Clips to utterances: the jobs of the mapping corpora of real videos."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talkjax.data.corpora.records import utterance_record
from talkjax.data.preparation import Job
from talkjax.data.speech_corpus import read_shard, shard_plan_key, write_shard
from talkjax.data.video_corpus import VERSION, Clip, track_clip
from talkjax.errors import InputError
from talkjax.track.durable import file_sha256
from talkjax.track.landmarks import load_landmark_models


@functools.cache
def _models() -> Any:
    return load_landmark_models()  # once per process


def clip_jobs(clips: list[Clip]) -> list[Job]:
    """A job per clip."""
    return [Job(clip.name, clip.split, dataclasses.asdict(clip)) for clip in clips]


@dataclasses.dataclass(frozen=True)
class SpeechJobs:
    """`preparation.Preparer`: landmarks, identity and expression of a clip, and its sound.

    Attributes:
      root: folder of the clips.
      source: name of the corpus ("lrw" says that the language is English).
    """

    root: Path
    source: str

    def ready(self) -> None:
        _models()

    def key(self, job: Job) -> str:
        files = [self.root / job.facts[name] for name in ("name", "sound") if job.facts[name]]
        gone = [path for path in files if not path.is_file()]
        if gone:
            raise InputError(f"{gone[0]} is not there", code="missing_file")
        facts = [VERSION, self.source, job.facts, [file_sha256(path) for path in files]]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def prepare(self, job: Job, result: Path, key: str) -> int:
        utterances = track_clip(self.root, Clip(**job.facts), self.source, _models())
        write_shard(result, utterances, key)
        return sum(len(u) for u in utterances)

    def intact(self, result: Path, key: str) -> bool:
        return shard_plan_key(result) == key


def utterance_examples(result: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples in a job's result."""
    shard = read_shard(result)
    for k in range(len(shard)):
        utterance = shard.utterance(k, silent=True)
        yield utterance.key, utterance_record(utterance, shard.flac(k))
