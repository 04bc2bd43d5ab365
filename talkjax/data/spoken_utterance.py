"""One utterance of the generated corpus: who says what and how, its sound, phones, articulators and face.

Everything random comes from (seed, position), so an utterance is the same whoever builds it and when.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from talkjax.data.background_noise import background
from talkjax.data.coarticulation import CHANNELS, articulate
from talkjax.data.corpus_text import sentence
from talkjax.data.corpus_voices import SILENCE_SHARE, Voice
from talkjax.data.phone_maps import to_cmu
from talkjax.data.speech_corpus import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Utterance
from talkjax.data.speech_deformers import SpeakingStyle, draw_style, speech_exp
from talkjax.data.synthesizers import Spoken, espeak, resample, speak_festival, speak_flite

ARTICULATION_RATE = 100  # per second; averaged to 25
SPEEDS = (0.87, 0.93, 1.0, 1.0, 1.0, 1.07, 1.15)
"""Playing faster or slower moves the formants: other vocal tracts from the same voice."""
UTTERANCE_HELDOUT_SHARE = 0.03
SILENCE_NAME = "none:silence"
_BRIEF_PAUSE = 0.08  # a silence so short is the closure of the stop after it, not a pause


@dataclasses.dataclass(frozen=True)
class Plan:
    """What utterance `position` will be; `voice` None for one without speech."""

    position: int
    voice: Voice | None
    split: str


def plan_utterance(voices: Sequence[Voice], seed: int, position: int) -> Plan:
    """Spreads the voices evenly by their shares (golden-ratio sequence), whatever stretch is built."""
    shares = np.array([voice.share for voice in voices] + [SILENCE_SHARE])
    rng = np.random.default_rng([seed, 11, position])
    offset = np.random.default_rng([seed, 12]).uniform()
    place = (offset + position * (np.sqrt(5) - 1) / 2) % 1.0
    k = int(np.searchsorted(np.cumsum(shares) / shares.sum(), place, "right"))
    voice = voices[k] if k < len(voices) else None
    split = voice.split if voice else "train"
    if split == "train" and rng.uniform() < UTTERANCE_HELDOUT_SHARE:
        split = "utterance_heldout"
    return Plan(position, voice, split)


def _speak(voice: Voice, sentences: list[str], rng: np.random.Generator) -> tuple[list[Spoken], str, float]:
    """All sentences by one voice; returns them, the voice's full name and its speaking rate (1: usual)."""
    stretch = float(np.exp(rng.uniform(np.log(0.78), np.log(1.32))))
    if voice.synthesizer == "flite":
        pitch = voice.pitch * float(np.exp(rng.uniform(-0.28, 0.28)))
        return speak_flite(voice.id, sentences, stretch, pitch), voice.name, 1 / stretch
    if voice.synthesizer == "festival":
        return speak_festival(voice.id, sentences, stretch, voice.encoding), voice.name, 1 / stretch
    variant = voice.variants[int(rng.integers(len(voice.variants)))]
    full = f"{voice.id}+{variant}" if variant else voice.id
    pitch = int(rng.integers(25, 80))
    spoken = [
        espeak().speak(full, s, round(165 / stretch), int(np.clip(pitch + rng.integers(-5, 6), 0, 99)))
        for s in sentences
    ]
    return spoken, f"espeak-ng:{full}", 1 / stretch


def _merge_brief_pauses(phones: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pauses shorter than 80 ms inside speech join the phone after them (a stop's closure is silent)."""
    out: list[tuple[str, float]] = []
    start = 0.0
    for k, (phone, end) in enumerate(phones):
        if phone == "pau" and 0 < k < len(phones) - 1 and end - start < _BRIEF_PAUSE:
            continue  # the next phone starts where the last one ended
        out.append((phone, end))
        start = end
    return out


def _append(phones: list[tuple[str, float]], more: list[tuple[str, float]], at: float) -> None:
    """Adds phones that start at time `at`; neighbouring pauses become one."""
    for phone, end in more:
        if phone == "pau" and phones and phones[-1][0] == "pau":
            phones[-1] = ("pau", at + end)
        else:
            phones.append((phone, at + end))


def _assemble(
    spoken: list[Spoken], phone_set: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Sentences with silence of 0.3 to 2 s around and between them -> (float32 [n], CMU phones)."""
    pieces: list[np.ndarray] = []
    phones: list[tuple[str, float]] = []
    length = 0

    def silence(low: float, high: float) -> None:
        nonlocal length
        count = int(np.exp(rng.uniform(np.log(low), np.log(high))) * SAMPLE_RATE)
        pieces.append(np.zeros(count, np.float32))
        _append(phones, [("pau", count / SAMPLE_RATE)], length / SAMPLE_RATE)
        length += count

    silence(0.3, 1.2)
    for k, item in enumerate(spoken):
        own = _merge_brief_pauses(to_cmu(phone_set, item.phones))
        own = [(phone, min(end, item.seconds)) for phone, end in own]
        if own[-1][1] < item.seconds:
            _append(own, [("pau", item.seconds)], 0.0)
        _append(phones, own, length / SAMPLE_RATE)
        pieces.append(item.wav)
        length += len(item.wav)
        if k < len(spoken) - 1:
            silence(0.3, 1.6) if rng.uniform() < 0.6 else silence(0.05, 0.3)
    silence(0.3, 2.0)
    count = -length % SAMPLES_PER_FRAME
    pieces.append(np.zeros(count, np.float32))
    phones[-1] = ("pau", (length + count) / SAMPLE_RATE)
    return np.concatenate(pieces), phones


def _speed(item: Spoken, factor: float) -> Spoken:
    if factor == 1.0:
        return item
    wav = resample(item.wav, SAMPLE_RATE * factor)
    return Spoken(wav, [(name, end / factor) for name, end in item.phones])


def _with_effort(wav: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Level and spectral tilt of soft (0.7) to loud (1.3) speech, and a faint room tone; int16."""
    tilt = 1.1 * (amplitude - 1.0)
    tilted = wav + tilt * np.diff(wav, prepend=wav[:1])
    loud = np.abs(tilted) > 0.02
    level = float(np.sqrt(np.mean(tilted[loud] ** 2))) if loud.any() else 1.0
    wanted = 10 ** ((-21.0 + 20 * (amplitude - 1.0) + rng.normal(0, 2.0)) / 20)
    scaled = tilted * (wanted / max(level, 1e-6))
    scaled = scaled + 10 ** (rng.uniform(-90, -66) / 20) * rng.standard_normal(len(wav))
    peak = float(np.abs(scaled).max())
    return np.round(scaled * min(1.0, 0.98 / peak) * 32767).astype(np.int16)


def face_motion(
    phones: Sequence[tuple[str, float]], n_frames: int, style: SpeakingStyle
) -> tuple[np.ndarray, np.ndarray]:
    """(exp [t 43], channels [t 7]) of phones, computed at 100 Hz and averaged over each frame's 40 ms."""
    per_frame = ARTICULATION_RATE // FPS
    times = (np.arange(n_frames * per_frame) + 0.5) / ARTICULATION_RATE
    channels = articulate(phones, times)
    exp = speech_exp(channels, style).reshape(n_frames, per_frame, -1).mean(1)
    return exp, channels.reshape(n_frames, per_frame, len(CHANNELS)).mean(1)


def speak_utterance(plan: Plan, seed: int) -> Utterance:
    """Builds a planned utterance.

    Raises:
      SynthesisError, UnknownPhone: with the utterance's key in the message.
    """
    rng = np.random.default_rng([seed, 13, plan.position])
    key = f"g{seed}-{plan.position:06d}"
    if plan.voice is None:
        return _silent_utterance(plan, key, rng)
    style = draw_style(rng)
    sentences = [sentence(plan.voice.language, rng) for _ in range(int(rng.integers(2, 5)))]
    spoken, name, rate = _speak(plan.voice, sentences, rng)
    speed = SPEEDS[int(rng.integers(len(SPEEDS)))]
    # who speaks fast moves less than the undershoot of short phones alone
    style = dataclasses.replace(
        style, amplitude=float(np.clip(style.amplitude * (rate * speed) ** -0.2, 0.7, 1.3))
    )
    wav, phones = _assemble([_speed(item, speed) for item in spoken], plan.voice.phone_set, rng)
    n = len(wav) // SAMPLES_PER_FRAME
    exp, channels = face_motion(phones, n, style)
    return _utterance(
        plan, key, _with_effort(wav, style.amplitude, rng), exp, channels, phones, name, plan.voice.language,
        " ".join(sentences), dataclasses.asdict(style) | {"rate": rate * speed, "speed": speed},
    )  # fmt: skip


def _silent_utterance(plan: Plan, key: str, rng: np.random.Generator) -> Utterance:
    """Three to six seconds of noise of some kind and level, and a resting mouth."""
    n = int(rng.integers(75, 151))
    wav = background(rng, n * SAMPLES_PER_FRAME) * 10 ** (rng.uniform(-80, -15) / 20)
    phones = [("pau", n / FPS)]
    style = draw_style(rng)
    exp, channels = face_motion(phones, n, style)
    sound = np.round(np.clip(wav, -0.99, 0.99) * 32767).astype(np.int16)
    return _utterance(
        plan, key, sound, exp, channels, phones, SILENCE_NAME, "zxx", "", dataclasses.asdict(style)
    )


def _utterance(
    plan: Plan, key: str, wav: np.ndarray, exp: np.ndarray, channels: np.ndarray,
    phones: list[tuple[str, float]], voice: str, language: str, text: str, style: dict[str, float],
) -> Utterance:  # fmt: skip
    t = len(exp)
    unknown = np.full((t, 3), np.nan, np.float32)
    return Utterance(
        wav=wav, exp=exp.astype(np.float16), channels=channels.astype(np.float16),
        euler=unknown, translation=unknown, valid=np.ones(t, bool),
        phones=tuple((phone, float(end)) for phone, end in phones), voice=voice, language=language,
        split=plan.split, key=key, text=text, style={k: round(v, 4) for k, v in style.items()},
    )  # fmt: skip
