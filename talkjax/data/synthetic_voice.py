"""The embedded voices: sound and phoneme times (from `build_voice.py`; terms in embedded/README.md)."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

from talkjax.data.synthetic_mesh import EMBEDDED
from talkjax.errors import InputError
from talkjax.media.reader import read_audio

SAMPLE_RATE = 16000
VOICES = ("voice_train", "voice_drive")
"""`voice_train` speaks in the synthetic clip (18 s), `voice_drive` is another speaker's (6 s)."""


@dataclasses.dataclass(frozen=True)
class Voice:
    """wav: float32 [n] at 16 kHz; phones: (phoneme, end time in seconds) from time 0; text as spoken."""

    wav: np.ndarray
    phones: tuple[tuple[str, float], ...]
    text: str

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.wav) / SAMPLE_RATE


def voice_path(name: str) -> pathlib.Path:
    """The sound file of an embedded voice (FLAC, 16 kHz mono)."""
    if name not in VOICES:
        raise InputError(f"no embedded voice {name!r}", expected=" or ".join(VOICES), code="unknown_voice")
    return EMBEDDED / f"{name}.flac"


def load_voice(name: str) -> Voice:
    """Sound and phonemes of an embedded voice."""
    path = voice_path(name)
    record = json.loads(path.with_suffix(".json").read_text())
    phones = tuple((str(phone), float(end)) for phone, end in record["phones"])
    return Voice(read_audio(path, SAMPLE_RATE), phones, record["text"])


def fit_voice(voice: Voice, seconds: float, gap: float = 0.4) -> Voice:
    """The voice cut, or repeated after `gap` seconds of silence, to exactly `seconds`."""
    pieces, phones, offset = [], [], 0.0
    while offset < seconds:
        pieces += [voice.wav, np.zeros(round(gap * SAMPLE_RATE), np.float32)]
        phones += [(phone, offset + end) for phone, end in voice.phones]
        offset += voice.seconds + gap
        phones.append(("pau", offset))
    starts = [0.0] + [end for _, end in phones[:-1]]
    kept = [
        (phone, min(end, seconds))
        for (phone, end), start in zip(phones, starts, strict=True)
        if start < seconds
    ]
    wav = np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)]
    return Voice(np.asarray(wav, np.float32), tuple(kept), voice.text)
