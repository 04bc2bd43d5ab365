"""Speech synthesizers with the face's true motion: the shards of `launch.build_corpus` as a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from talkjax.data.corpora.base import CorpusBuilder
from talkjax.data.corpora.records import utterance_record
from talkjax.data.speech_corpus import MANIFEST, SPLITS, SpeechCorpus
from talkjax.track.durable import file_sha256


class GeneratedSpeech(CorpusBuilder):
    """Utterances of `python -m launch.build_corpus generated --out=DIR`; `source` is that DIR."""

    name = "generated_speech"
    ABOUT = "Speech of free synthesizers with expression coefficients of a coarticulation model."
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Nothing to download: `python -m launch.build_corpus generated --out=DIR` speaks it; "
        "docs/corpus.md; terms of the voices are listed there."
    )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        self.source = self.root(dl_manager)
        corpus = SpeechCorpus.open(self.source)
        return {
            split: self._generate_examples(self._examples(corpus, split))
            for split in SPLITS
            if corpus.where(split)
        }

    def made_from(self) -> str:
        return file_sha256(self.root() / MANIFEST)

    def _examples(self, corpus: SpeechCorpus, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for utterance in corpus.select(split):
            yield utterance.key, utterance_record(utterance)
