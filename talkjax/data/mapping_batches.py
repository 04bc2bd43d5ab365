"""From a speech corpus to training sequences of `tasks/mapping_general`: features once, rows by step.

Row r of step s is a pure function of (seed, s, r). Utterances of one voice follow each other with pauses
until a sequence is full, so that the network also sees long silences and the beginning of recordings.

Nothing here touches a JAX device: input threads and processes run it beside a training step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import scipy.fft
import scipy.sparse
from scipy.ndimage import binary_erosion
from scipy.signal import oaconvolve

from talkjax.audio.log_mel import FLOOR, FRAME, HOP, N_BANDS, N_FFT, SAMPLE_RATE, mel_filters
from talkjax.audio.spoil import SILENT_ROW
from talkjax.data.coarticulation import CHANNELS, PHONES, SILENCES
from talkjax.data.speech_corpus import Utterance
from talkjax.data.speech_deformers import LIP_GAP, lip_gap
from talkjax.face.deformers import EXP_NAMES
from talkjax.tasks.mapping_general import GeneralBatch, GeneralScales

FPS = 25.0
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
    out = oaconvolve(wav, echo.astype(np.float32))[: len(wav)]
    return (out * (np.std(wav) + 1e-9) / (np.std(out) + 1e-9)).astype(np.float32)


@functools.cache
def _sparse_filters() -> scipy.sparse.csr_array:
    # not for the few products it saves: the threads of a dense one wait for each other, busily
    return scipy.sparse.csr_array(mel_filters().T.astype(np.float32))


def raw_rows(wav: np.ndarray) -> np.ndarray:
    """`log_mel` of sound of any length, `[n // 160, 40]` float16; numpy's twin of `audio.log_mel`."""
    rows = len(wav) // HOP
    padded = np.pad(wav.astype(np.float32), (FRAME // 2 - HOP // 2, FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[: rows * HOP : HOP]
    spectrum = scipy.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), N_FFT)
    bands = (spectrum.real**2 + spectrum.imag**2) @ _sparse_filters()
    return np.log(bands + np.float32(FLOOR)).astype(np.float16)


def sound_version(wav: np.ndarray, version: int, seed: int, place: int) -> np.ndarray:
    """Version 0 is the sound itself; each other one is a room of its own, which follows from all three."""
    return wav if version == 0 else in_a_room(wav, np.random.default_rng([seed, place, version]))


def make_item(utterance: Utterance, versions: Sequence[int], seed: int, place: int) -> Item:
    """Features of one utterance of the corpus (its `place`), its sound in these versions."""
    wav = utterance.wav.astype(np.float32) / 32768
    labels = phone_labels(utterance.phones, len(utterance))
    silent = np.isin(labels, [PHONES.index(name) for name in SILENCES])
    # a mouth opens before the sound and takes its time after it
    silent = binary_erosion(silent, np.ones(2 * SPEECH_MARGIN + 1), border_value=1)
    exp = utterance.exp.astype(np.float32)
    return Item(
        rows=np.stack([raw_rows(sound_version(wav, v, seed, place)) for v in versions]),
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
    for place, utterance in enumerate(utterances):
        yield make_item(utterance, range(versions), seed, place)


class ItemSource(Protocol):
    """Items by number, from memory or from disk. voices, lengths (frames): of each item, without reading
    it; versions: in how many versions its sound is to be had."""

    voices: Sequence[str]
    lengths: np.ndarray
    versions: int

    def item(self, k: int, version: int) -> Item:
        """Item k; `rows` holds one version."""
        ...


class ItemList:
    """Items that are all in memory."""

    def __init__(self, items: Sequence[Item]):
        self.items = items
        self.voices: Sequence[str] = [item.voice for item in items]
        self.lengths = np.array([len(item) for item in items], np.int64)
        self.versions = min(len(item.rows) for item in items)

    def item(self, k: int, version: int) -> Item:
        return dataclasses.replace(self.items[k], rows=self.items[k].rows[version : version + 1])


def corpus_scales(items: Sequence[Item]) -> GeneralScales:
    """Mean and spread of the targets of items in memory."""
    moments = Moments()
    for item in items:
        moments.add(item.channels[item.valid], item.exp[item.valid])
    return moments.scales()


def _gap() -> np.ndarray:
    gap = np.zeros(len(EXP_NAMES))
    gap[[EXP_NAMES.index(name) for name in LIP_GAP]] = list(LIP_GAP.values())
    return gap


class Moments:
    """Sums over a corpus's trusted frames, from which `GeneralScales` follow; frames are added in any
    pieces."""

    def __init__(self) -> None:
        self._sums = [np.zeros((3, n)) for n in (len(CHANNELS), len(EXP_NAMES), 1)]  # count, sum, squares

    def add(self, channels: np.ndarray, exp: np.ndarray) -> None:
        """Adds frames: `[t 7]` (rows with NaN do not count) and `[t e]`."""
        exp = exp.astype(np.float64)
        known = channels[np.isfinite(channels).all(1)].astype(np.float64)
        for sums, values in zip(self._sums, (known, exp, (exp @ _gap())[:, None]), strict=True):
            sums += np.stack([np.full(values.shape[1], len(values)), values.sum(0), (values**2).sum(0)])

    def scales(self) -> GeneralScales:
        """The statistics; rarely used axes keep a floor, so that their noise is no target."""
        parts = []
        for count, total, squares in self._sums:
            mean = total / np.maximum(count, 1)
            parts.append((mean, np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))))
        (channels, exp, gap) = parts
        mean = np.concatenate([channels[0], exp[0]])
        scale = np.concatenate([channels[1] + 0.02, np.maximum(exp[1], 0.04)])
        return GeneralScales(*(np.asarray(x, np.float32) for x in (mean, scale, _gap(), gap[1][0])))


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


@functools.cache
def music_rows(seed: int, pieces: int = 12, seconds: float = 8.0) -> np.ndarray:
    """`[pieces r 40]` raw log-mel of synthetic music."""
    rng = np.random.default_rng([seed, 77])
    songs = [synthetic_music(rng, seconds) for _ in range(pieces)]
    rows = np.stack([raw_rows(song) for song in songs]).astype(np.float32)
    rows.flags.writeable = False
    return rows


class Sequences:
    """(step, row) -> one row of a `GeneralBatch`; the same numbers give the same row in every process."""

    def __init__(self, source: ItemSource, n_frames: int, seed: int):
        self.source, self.n_frames, self.seed = source, n_frames, seed
        names, group = np.unique(np.asarray(source.voices), return_inverse=True)
        order = np.argsort(group, kind="stable")
        self._of_voice = np.split(order, np.cumsum(np.bincount(group))[:-1])
        frames = np.bincount(group, source.lengths, len(names)).astype(np.float64)
        self._voice_share = np.sqrt(frames) / np.sqrt(frames).sum()  # small voices more often than their size
        self._music = music_rows(seed)
        rest = np.zeros((1, len(CHANNELS)), np.float32)
        rest[0, CHANNELS.index("close")] = 0.9
        self._rest = rest

    def __call__(self, step: int, row: int) -> GeneralBatch:
        rng = np.random.default_rng([self.seed, 1, step, row])
        rows, *targets = self._sequence(rng)
        # babble (what another voice says) or music
        noise = self._some_music(rng) if rng.random() < 0.5 else self._sequence(rng)[0]
        return GeneralBatch(rows, noise, *targets)

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
            item = self.source.item(
                int(group[rng.integers(len(group))]), int(rng.integers(self.source.versions))
            )
            inside = not parts and rng.random() < 0.7  # else: from the beginning, as a recording begins
            start = int(rng.integers(0, len(item))) if inside else 0
            pause = int(FPS * rng.uniform(0.0, LONGEST_PAUSE))
            parts += [self._cut(item, start), self._pause(pause)]
            total += len(item) - start + pause
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return [joined[0][: 4 * self.n_frames], *(x[: self.n_frames] for x in joined[1:])]

    def _cut(self, item: Item, start: int) -> list[np.ndarray]:
        rows = item.rows[0, 4 * start :].astype(np.float32)
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


class GeneralBatches:
    """Step -> `GeneralBatch` of items in memory; the same step gives the same batch in every process."""

    def __init__(self, items: Sequence[Item], batch_size: int, n_frames: int, seed: int):
        self.batch_size = batch_size
        self._sequences = Sequences(ItemList(items), n_frames, seed)

    def __call__(self, step: int) -> GeneralBatch:
        rows = [self._sequences(step, r) for r in range(self.batch_size)]
        return GeneralBatch(*(np.stack(column) for column in zip(*rows, strict=True)))
