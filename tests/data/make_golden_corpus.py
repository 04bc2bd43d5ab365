"""Makes `tests/goldens/speech_corpus/`: python -m tests.data.make_golden_corpus

flite 2.2, CMU ARCTIC voices rms and slt, whose terms put no condition on their output.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from talkjax.data.corpus_voices import VOICES
from talkjax.data.speech_corpus import (
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    claim_folder,
    shard_name,
    write_manifest,
    write_shard,
)
from talkjax.data.speech_deformers import SpeakingStyle
from talkjax.data.spoken_utterance import Plan, _assemble, _utterance, face_motion
from talkjax.data.synthesizers import speak_flite

FOLDER = Path(__file__).parents[1] / "goldens" / "speech_corpus"
SENTENCES = {"rms": "Bob put a big apple pie by my map.", "slt": "Maybe a boy bought a purple boat."}


def main() -> None:
    """Two utterances of three seconds, one per shard."""
    claim_folder(FOLDER, {"made_by": "tests/data/make_golden_corpus.py"})
    for k, (name, text) in enumerate(SENTENCES.items()):
        voice = next(v for v in VOICES if v.id == name)
        rng = np.random.default_rng(k)
        wav, phones = _assemble(speak_flite(name, [text], 1.0, voice.pitch), "english", rng)
        n = len(wav) // SAMPLES_PER_FRAME
        assert len(wav) / SAMPLE_RATE < 5
        style = SpeakingStyle()
        exp, channels = face_motion(phones, n, style)
        plan = Plan(k, voice, "train" if k == 0 else "voice_heldout")
        sound = np.round(wav / np.abs(wav).max() * 16000).astype(np.int16)
        utterance = _utterance(
            plan,
            f"golden-{k}",
            sound,
            exp,
            channels,
            phones,
            voice.name,
            "en",
            text,
            dataclasses.asdict(style),
        )
        write_shard(FOLDER / shard_name(k), [utterance], "golden")
    write_manifest(FOLDER, "generated", [shard_name(k) for k in range(len(SENTENCES))], {"seed": 0})


if __name__ == "__main__":
    main()
