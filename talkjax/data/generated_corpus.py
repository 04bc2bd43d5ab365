"""Builds the generated corpus: shards in parallel processes, deterministic, resumable after a kill.

Shard k holds utterances k * size ... and depends on the seed and the settings only. Every shard is built in
a process of its own (espeak-ng keeps state), written in one step, and kept by the next run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import talkjax
from talkjax.data import corpus_text
from talkjax.data.corpus_voices import VOICES, Voice
from talkjax.data.shard_jobs import build_shards
from talkjax.data.speech_corpus import (
    FPS,
    claim_folder,
    read_shard,
    shard_name,
    shard_plan_key,
    write_manifest,
    write_shard,
)
from talkjax.data.spoken_utterance import plan_utterance, speak_utterance
from talkjax.data.synthesizers import SYNTHESIZERS, check_installed
from talkjax.errors import InputError
from talkjax.progress import SILENT, Progress
from talkjax.track.durable import file_sha256

VERSION = 1
"""Raise it when the code changes what a seed gives."""


@dataclasses.dataclass(frozen=True)
class GeneratedConfig:
    """hours: least length; shard_size: utterances of about 11 s; synthesizers: which may speak."""

    hours: float = 6.0
    seed: int = 0
    shard_size: int = 60
    synthesizers: tuple[str, ...] = SYNTHESIZERS

    def __post_init__(self) -> None:
        unknown = set(self.synthesizers) - set(SYNTHESIZERS)
        if unknown or not self.synthesizers:
            raise InputError(
                f"synthesizers {','.join(self.synthesizers)!r}", expected=f"some of {','.join(SYNTHESIZERS)}"
            )
        if not 0 < self.hours <= 1000 or not 1 <= self.shard_size <= 255 or self.seed < 0:
            raise InputError(
                f"hours {self.hours}, shard_size {self.shard_size}, seed {self.seed}",
                expected="hours in (0, 1000], shard_size in 1..255, seed >= 0",
            )

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The voices of these synthesizers."""
        return tuple(voice for voice in VOICES if voice.synthesizer in self.synthesizers)


def _plan(config: GeneratedConfig) -> dict[str, Any]:
    """Everything that decides the bytes of the shards."""
    versions = check_installed((v.synthesizer, v.id, v.package) for v in config.voices)
    return {
        "version": VERSION,
        "talkjax": talkjax.__version__,
        "seed": config.seed,
        "shard_size": config.shard_size,
        "synthesizers": versions,
        "packages": _package_versions({v.package for v in config.voices}),
        "words_sha256": file_sha256(corpus_text.WORDS_FILE),
        "voices": [dataclasses.asdict(v) for v in config.voices],
    }


def _package_versions(packages: set[str]) -> dict[str, str]:
    """Debian's versions where dpkg is at hand; the record says which recordings spoke."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *sorted(packages)],
            capture_output=True,
            text=True,
        )
    except OSError:
        return {}
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def build_shard(k: int, out: Path, config: GeneratedConfig, key: str) -> None:
    """Speaks and writes the utterances of shard k."""
    positions = range(k * config.shard_size, (k + 1) * config.shard_size)
    plans = [plan_utterance(config.voices, config.seed, i) for i in positions]
    write_shard(out / shard_name(k), [speak_utterance(plan, config.seed) for plan in plans], key)


def build_generated(
    out: Path, config: GeneratedConfig, workers: int = 2, progress: Progress = SILENT
) -> dict[str, Any]:
    """Builds, or finishes, a corpus of at least `config.hours` in `out`; returns its manifest.

    Raises:
      InputError: a synthesizer or voice is missing; the folder holds a corpus of other settings.
      RuntimeError: a shard could not be built (its error is on stderr).
    """
    plan = _plan(config)
    key = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    claim_folder(out, plan)
    ready: dict[int, float] = {}
    with progress("corpus", round(config.hours * 60)) as ticker:

        def note(k: int) -> None:
            ready[k] = float(read_shard(out / shard_name(k)).arrays["n_frames"].sum()) / FPS / 3600
            ticker.update(round(ready[k] * 60))

        def wanted() -> Iterator[int]:
            for k in itertools.count():
                if sum(ready.values()) >= config.hours:
                    return
                if shard_plan_key(out / shard_name(k)) == key:
                    note(k)
                else:
                    yield k

        build_shards(wanted(), build_shard, lambda k: (out, config, key), note, workers)
    names = []
    hours = 0.0
    for k in sorted(ready):  # the shortest row of shards that is long enough, whoever finished first
        if hours >= config.hours:
            (out / shard_name(k)).unlink()
            continue
        names.append(shard_name(k))
        hours += ready[k]
    licences = {v.name: v.licence for v in config.voices}
    facts = {**plan, "licences": licences, "text": "talkjax/data/embedded/corpus_words.json; docs/corpus.md"}
    return write_manifest(out, "generated", names, facts)
