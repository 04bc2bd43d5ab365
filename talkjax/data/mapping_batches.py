"""From a speech corpus to training sequences of `tasks/mapping_general`: features once, batches by step.

A batch is a pure function of the seed and the step. Utterances of one voice follow each other with pauses
until a sequence is full, so that the network also sees long silences and the beginning of recordings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_erosion
from scipy.signal import fftconvolve

from talkjax.audio.log_mel import HOP, N_BANDS, SAMPLE_RATE, log_mel
from talkjax.audio.spoil import SILENT_ROW
from talkjax.data.coarticulation import CHANNELS, PHONES, SILENCES
from talkjax.data.speech_corpus import Utterance
from talkjax.data.speech_deformers import LIP_GAP, lip_gap
from talkjax.face.deformers import EXP_NAMES
from talkjax.tasks.mapping_general import GeneralBatch, GeneralScales

FPS = 25.0
PIECE = 4 * SAMPLE_RATE
CLOSED_DM = 0.009
"""Lips count as closed below this opening: 1 % of the distance between the outer eye corners."""
SILENT_SHARE = 0.08
"""Sequences without any speech: hiss, music or nothing, and a mouth at rest."""
SPEECH_MARGIN = 3
"""Frames before and after a phone that count as speech."""
LONGEST_PAUSE = 1.5  # s, between utterances


@dataclasses.dataclass(frozen=True)
class Item:
    """One utterance as features: versions of its sound `[v 4t 40]` float16 raw log-mel; see
    `GeneralBatch`."""

    rows: np.ndarray
    channels: np.ndarray
    exp: np.ndarray
    closed: np.ndarray
    speech: np.ndarray
    phones: np.ndarray
    valid: np.ndarray
    voice: str
    language: str
    key: str

    def __len__(self) -> int:
        return len(self.exp)


def phone_labels(phones: Sequence[tuple[str, float]], n_frames: int) -> np.ndarray:
    """`[t]` index into `PHONES` of the phone at the middle of each frame; -1 where there is none."""
    if not phones:
        return np.full(n_frames, -1, np.int32)
    names, ends = zip(*phones, strict=True)
    place = np.searchsorted(np.array(ends), (np.arange(n_frames) + 0.5) / FPS, side="right")
    index = np.array(
        [PHONES.index(n) if n in PHONES else -1 for n in names] + [PHONES.index("pau")], np.int32
    )
    return index[place]


def in_a_room(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sound with the echo of a random room, of the same length and loudness."""
    n = int(SAMPLE_RATE * rng.uniform(0.05, 0.4))
    echo = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * rng.uniform(0.02, 0.1)
    echo[0] = 1.0
    out = fftconvolve(wav, echo)[: len(wav)]
    return (out * (np.std(wav) + 1e-9) / (np.std(out) + 1e-9)).astype(np.float32)


def raw_rows(wav: np.ndarray) -> np.ndarray:
    """`log_mel` of sound of any length, `[n // 160, 40]` float16; filled up to few lengths that are
    compiled."""
    filled = np.zeros(-(-len(wav) // PIECE) * PIECE, np.float32)
    filled[: len(wav)] = wav
    return np.asarray(log_mel(jnp.asarray(filled)), np.float16)[: len(wav) // HOP]


def make_item(utterance: Utterance, versions: int, rng: np.random.Generator) -> Item:
    """Features of one utterance: its own sound, and `versions - 1` in random rooms."""
    wav = utterance.wav.astype(np.float32) / 32768
    sounds = [wav] + [in_a_room(wav, rng) for _ in range(versions - 1)]
    labels = phone_labels(utterance.phones, len(utterance))
    silent = np.isin(labels, [PHONES.index(name) for name in SILENCES])
    # a mouth opens before the sound and takes its time after it
    silent = binary_erosion(silent, np.ones(2 * SPEECH_MARGIN + 1), border_value=1)
    exp = utterance.exp.astype(np.float32)
    return Item(
        rows=np.stack([raw_rows(s) for s in sounds]),
        channels=utterance.channels.astype(np.float32),
        exp=exp,
        closed=(lip_gap(exp) < CLOSED_DM).astype(np.float32),
        speech=np.where(labels < 0, np.nan, ~silent).astype(np.float32),
        phones=labels,
        valid=np.asarray(utterance.valid, bool),
        voice=utterance.voice,
        language=utterance.language,
        key=utterance.key,
    )


def make_items(utterances: Iterable[Utterance], versions: int, seed: int) -> Iterator[Item]:
    """Items in order; the augmentation of each follows from the seed and its place."""
    for k, utterance in enumerate(utterances):
        yield make_item(utterance, versions, np.random.default_rng([seed, k]))


def corpus_scales(items: Sequence[Item]) -> GeneralScales:
    """Mean and spread of the targets; rarely used axes keep a floor, so that their noise is no target."""
    channels = np.concatenate([i.channels[i.valid] for i in items])
    exp = np.concatenate([i.exp[i.valid] for i in items])
    channels = channels[np.isfinite(channels).all(1)] if np.isfinite(channels).any() else np.zeros((1, 7))
    mean = np.concatenate([channels.mean(0), exp.mean(0)])
    scale = np.concatenate([channels.std(0) + 0.02, np.maximum(exp.std(0), 0.04)])
    gap = np.zeros(len(EXP_NAMES))
    gap[[EXP_NAMES.index(name) for name in LIP_GAP]] = list(LIP_GAP.values())
    spread = (exp @ gap).std()
    return GeneralScales(*(np.asarray(x, np.float32) for x in (mean, scale, gap, spread)))


def synthetic_music(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Chords, a melody and drums of no song: float32 at 16 kHz, about -20 dB."""
    n = int(seconds * SAMPLE_RATE)
    wav, time = np.zeros(n), np.arange(n) / SAMPLE_RATE
    beat = 60 / rng.uniform(70, 150)
    scale = 110 * 2 ** (rng.integers(0, 12) / 12) * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12, 15, 19]) / 12)
    at = 0.0
    while at < seconds:
        length = beat * rng.choice([0.5, 1, 2])
        for pitch in rng.choice(scale, rng.integers(1, 4), replace=False) * rng.choice([0.5, 1, 2]):
            since = time - at
            on = (since >= 0) & (since < length + 0.5)
            envelope = np.exp(-since[on] / rng.uniform(0.1, 0.8)) * np.minimum(since[on] / 0.01, 1)
            for harmonic in range(1, 9):
                if pitch * harmonic < 7800:
                    phase = 2 * np.pi * pitch * harmonic * since[on] + rng.uniform(0, 6)
                    wav[on] += envelope * np.sin(phase) / harmonic ** rng.uniform(0.8, 1.6)
        if rng.random() < 0.6:
            hit = slice(int(at * SAMPLE_RATE), min(int((at + 0.1) * SAMPLE_RATE), n))
            wav[hit] += rng.normal(size=hit.stop - hit.start) * np.exp(-np.arange(hit.stop - hit.start) / 500)
        at += length
    return (wav / (wav.std() + 1e-9) * 0.1).astype(np.float32)


def music_rows(seed: int, pieces: int = 12, seconds: float = 8.0) -> np.ndarray:
    """`[pieces r 40]` raw log-mel of synthetic music."""
    rng = np.random.default_rng([seed, 77])
    songs = [synthetic_music(rng, seconds) for _ in range(pieces)]
    return np.stack([raw_rows(song) for song in songs]).astype(np.float32)


class GeneralBatches:
    """Step -> `GeneralBatch`; the same step gives the same batch in every process."""

    def __init__(self, items: Sequence[Item], batch_size: int, n_frames: int, seed: int):
        self.items, self.batch_size, self.n_frames, self.seed = items, batch_size, n_frames, seed
        voices = sorted({item.voice for item in items})
        self._of_voice = [[k for k, item in enumerate(items) if item.voice == voice] for voice in voices]
        frames = np.array([sum(len(items[k]) for k in group) for group in self._of_voice], np.float64)
        self._voice_share = np.sqrt(frames) / np.sqrt(frames).sum()  # small voices more often than their size
        self._music = music_rows(seed)
        rest = np.zeros((1, len(CHANNELS)), np.float32)
        rest[0, CHANNELS.index("close")] = 0.9
        self._rest = rest

    def __call__(self, step: int) -> GeneralBatch:
        rng = np.random.default_rng([self.seed, 1, step])
        sequences = [self._sequence(rng) for _ in range(self.batch_size)]
        parts = [np.stack(column) for column in zip(*sequences, strict=True)]
        rows = parts[0]
        noise = np.roll(rows, 1, axis=0)  # babble: what another voice says
        for b in range(self.batch_size):
            if rng.random() < 0.5:
                noise[b] = self._some_music(rng)
        return GeneralBatch(rows, noise, *parts[1:])

    def _some_music(self, rng: np.random.Generator) -> np.ndarray:
        piece = self._music[rng.integers(len(self._music))]
        return np.take(piece, np.arange(4 * self.n_frames) + rng.integers(len(piece)), axis=0, mode="wrap")

    def _sequence(self, rng: np.random.Generator) -> list[np.ndarray]:
        if rng.random() < SILENT_SHARE:
            silence = self._pause(self.n_frames)
            if rng.random() < 0.3:
                silence[0][:] = self._some_music(rng) - rng.uniform(0, 8)
            return silence
        group = self._of_voice[rng.choice(len(self._of_voice), p=self._voice_share)]
        parts: list[list[np.ndarray]] = []
        total = 0
        while total < self.n_frames:
            item = self.items[group[rng.integers(len(group))]]
            inside = not parts and rng.random() < 0.7  # else: from the beginning, as a recording begins
            start = int(rng.integers(0, len(item))) if inside else 0
            pause = int(FPS * rng.uniform(0.0, LONGEST_PAUSE))
            parts += [self._cut(item, start, rng), self._pause(pause)]
            total += len(item) - start + pause
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return [joined[0][: 4 * self.n_frames], *(x[: self.n_frames] for x in joined[1:])]

    def _cut(self, item: Item, start: int, rng: np.random.Generator) -> list[np.ndarray]:
        rows = item.rows[rng.integers(len(item.rows)), 4 * start :].astype(np.float32)
        fields = (item.channels, item.exp, item.closed, item.speech, item.phones, item.valid)
        return [rows, *(field[start:] for field in fields)]

    def _pause(self, n: int) -> list[np.ndarray]:
        """Digital silence and a mouth at rest."""
        rest_exp = np.zeros((n, len(EXP_NAMES)), np.float32)
        return [
            np.full((4 * n, N_BANDS), SILENT_ROW, np.float32),
            np.repeat(self._rest, n, 0),
            rest_exp,
            np.ones(n, np.float32),
            np.zeros(n, np.float32),
            np.full(n, PHONES.index("pau"), np.int32),
            np.ones(n, bool),
        ]
