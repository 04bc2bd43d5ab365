"""A generated corpus of head motions: many people who do not exist, each with a style, moving to a voice.

The family of processes (docs/motion.md): every person has six series (pitch, yaw, roll and three free
shifts), each a sum of slow drift (an Ornstein-Uhlenbeck process smoothed twice), livelier wandering (a
critically damped oscillator driven by noise), and excursions (looks aside that rise, may stay, and return).
Time runs unevenly, so that the head rests and moves in turns, and slower in silence. The voice also drives
nods at syllable onsets and a sway with its level. Series mix by a random correlation. All rates, sizes,
time constants and couplings are drawn per person over ranges wider than those of the clips we know.
Everything follows from a seed. At last each series is made standard normal by its own ranks, as
`infer/head_style.py` does with a real person's.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from scipy.special import ndtri

from talkjax.audio.rhythm import voice_rhythm

FPS = 25.0
SERIES = 6


class Corpus(NamedTuple):
    """`n` people: normal series `[n t 6]` float32 and voice rhythm `[n t 3]` (audio/rhythm.py), 25 fps."""

    normal: np.ndarray
    voice: np.ndarray


@dataclasses.dataclass(frozen=True)
class Temper:
    """A person's parameters; see `draw_temper` for their ranges."""

    drift_s: np.ndarray  # [6] time constant of drift
    wander_s: np.ndarray  # [6] of wandering
    shares: np.ndarray  # [6 3] amplitudes of drift, wandering, excursions
    mix: np.ndarray  # [6 6] lower triangle: correlation of the series
    look_rate: float  # excursions per second
    look_s: tuple[float, float]  # rise and stay of an excursion, medians
    rest_share: float  # of the time that the head rests
    nod: np.ndarray  # [6] response to a syllable's onset
    sway: np.ndarray  # [6] response to the voice's level
    nod_s: float  # length of a nod
    calm: float  # liveliness in silence over that in speech


def draw_temper(rng: np.random.Generator) -> Temper:
    """A new person."""

    def log_uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), shape))

    pace = log_uniform(0.35, 1.5)
    finer = np.array([1.0, 1.0, 1.0, 1.0, 0.7, 0.9])  # what is left of a translation is small and quick
    direction = rng.normal(size=(SERIES, SERIES)) * log_uniform(0.05, 0.9, SERIES, 1)
    correlated = np.eye(SERIES) + np.tril(direction, -1)
    correlated /= np.linalg.norm(correlated, axis=1, keepdims=True)
    talks = rng.uniform() < 0.7  # does the head care about the voice at all
    nod = rng.normal(0, [0.8, 0.35, 0.35, 0.2, 0.5, 0.3]) * talks
    return Temper(
        drift_s=pace * finer * log_uniform(0.6, 5.0, SERIES),
        wander_s=pace * finer * log_uniform(0.08, 0.5, SERIES),
        shares=np.stack(
            [log_uniform(0.2, 1.2, SERIES), log_uniform(0.15, 1.5, SERIES), log_uniform(0.05, 2.0, SERIES)], 1
        ),
        mix=correlated,
        look_rate=float(log_uniform(0.03, 0.6)),
        look_s=(float(log_uniform(0.15, 0.7)), float(log_uniform(0.1, 1.5))),
        rest_share=float(rng.uniform(0, 0.6)),
        nod=nod,
        sway=rng.normal(0, 0.35, SERIES) * talks,
        nod_s=float(log_uniform(0.12, 0.4)),
        calm=float(rng.uniform(0.1, 1.1)) if talks else 1.0,
    )


def draw_voice(rng: np.random.Generator, t: int) -> Float[np.ndarray, "t 3"]:
    """Rhythm of a made-up speaker: phrases of 1-6 s, pauses of 0.15-2.5 s, 3-6.5 syllables per second."""
    times = np.arange(t) / FPS
    active, level = np.zeros(t), np.zeros(t)
    at = -float(rng.uniform(0, 3))
    pace, width = rng.uniform(3.0, 6.5), rng.uniform(0.045, 0.08)
    while at < times[-1]:
        end = at + float(np.exp(rng.normal(0.8, 0.6)).clip(0.4, 7.0))
        active[(times >= at) & (times < end)] = 1
        beat = at
        while beat < end:
            height = rng.uniform(0.45, 1.0) * (1.25 if rng.uniform() < 0.25 else 1.0)
            level += height * np.exp(-(((times - beat) / width) ** 2))
            beat += rng.uniform(0.6, 1.5) / pace
        at = end + float(np.exp(rng.normal(-0.9, 0.7)).clip(0.12, 2.5))
    level = np.clip(0.45 * active + 0.5 * level + rng.normal(0, 0.03, t), 0, 1) * active
    smooth = np.convolve(np.pad(level, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    onset = np.clip(3 * np.diff(smooth, prepend=smooth[:1]), 0, 1)
    return np.stack([active, level, onset], 1)


def draw_motion(
    rng: np.random.Generator, temper: Temper, voice: Float[np.ndarray, "t 3"]
) -> Float[np.ndarray, "t 6"]:
    """One performance of a person, normal series."""
    t = len(voice)
    lead = 100
    activity = np.pad(voice[:, 0], (lead, 0), mode="edge")
    lively = temper.calm + (1 - temper.calm) * gaussian_filter1d(activity, 4)
    clock = _uneven_clock(rng, lively, temper.rest_share)
    parts = np.zeros((t + lead, SERIES))
    for k in range(SERIES):
        drift = _smooth_noise(rng, t + lead, temper.drift_s[k])
        wander = _smooth_noise(rng, t + lead, temper.wander_s[k])
        looks = _excursions(rng, t + lead, temper.look_rate, temper.look_s)
        parts[:, k] = np.stack([drift, wander, looks], 1) @ temper.shares[k]
    # excursions of a person come in all axes at once: the head turns and tips
    parts = parts @ temper.mix.T
    frames = np.arange(t + lead)
    parts = np.stack([np.interp(clock, frames, column) for column in parts.T], 1)
    bump = np.exp(-(((np.arange(-20, 21) / FPS - 0.08) / temper.nod_s) ** 2))
    onsets = np.pad(voice[:, 2], (lead, 0))
    nods = np.convolve(onsets, bump, "same")[:, None] * temper.nod
    sway = gaussian_filter1d(np.pad(voice[:, 1], (lead, 0)), 6)[:, None] * temper.sway
    out = parts / (parts.std(0) + 1e-6) + 0.8 * nods + sway
    out = gaussian_filter1d(out[lead:], 1.2, axis=0)  # a tracker's smoothness
    return _ranked(out)


def _smooth_noise(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """Unit spread, three times integrated with a leak: position, speed and force are continuous."""
    keep = np.exp(-1 / (seconds * FPS))
    warm = int(6 * seconds * FPS)
    noise = rng.standard_normal(n + warm)
    for _ in range(2):
        noise = lfilter([1 - keep], [1, -keep], noise)
    fine = np.exp(-1 / (0.25 * seconds * FPS))
    noise = lfilter([1 - fine], [1, -fine], noise)[warm:]
    return noise / (noise.std() + 1e-9)


def _excursions(rng: np.random.Generator, n: int, rate: float, look_s: tuple[float, float]) -> np.ndarray:
    """Looks aside: at random times, heavy-tailed in size, rising and falling smoothly."""
    times, out = np.arange(n) / FPS, np.zeros(n)
    for at in rng.uniform(-2, n / FPS, rng.poisson(rate * (n / FPS + 2))):
        rise = look_s[0] * np.exp(rng.normal(0, 0.3))
        stay = look_s[1] * np.exp(rng.normal(0, 0.6))
        size = rng.standard_t(4)
        up = 1 / (1 + np.exp(-np.clip((times - at) / (0.22 * rise), -30, 30)))
        down = 1 / (1 + np.exp(-np.clip((times - at - rise - stay) / (0.3 * rise), -30, 30)))
        out += size * (up - down)
    return out


def _uneven_clock(rng: np.random.Generator, lively: np.ndarray, rest_share: float) -> np.ndarray:
    """Time of the processes in frames: it nearly stands still in rests, and goes slower where calm."""
    pace = gaussian_filter1d(rng.standard_normal(len(lively)), 9)
    pace = pace / (pace.std() + 1e-9)
    moving = 1 / (1 + np.exp(-4 * (pace - ndtri(max(rest_share, 1e-3)))))
    clock = np.cumsum(lively * (0.06 + 0.94 * moving))
    return clock - clock[0]


def _ranked(series: np.ndarray) -> np.ndarray:
    order = series.argsort(0).argsort(0)
    return ndtri((order + 0.5) / len(series))


def make_corpus(seed: int, people: int, seconds: float = 48.0, first: int = 0) -> Corpus:
    """People `first` .. `first + people - 1` of the corpus of `seed`; the same for any division of it."""
    t = round(seconds * FPS)
    normal, voices = np.empty((people, t, SERIES), np.float32), np.empty((people, t, 3), np.float32)
    for k in range(people):
        rng = np.random.default_rng([seed, first + k])
        temper = draw_temper(rng)
        voices[k] = draw_voice(rng, t)
        normal[k] = draw_motion(rng, temper, voices[k])
    return Corpus(normal, voices)


class SpokenCorpus(NamedTuple):
    """`n` people who move to real sound: normal series `[n t 6]` at 25 fps, wav `[n 640 t]` at 16 kHz."""

    normal: np.ndarray
    wav: np.ndarray


def make_spoken_corpus(
    seed: int, people: int, voices: list[Float[np.ndarray, "n"]], seconds: float = 20.0, first: int = 0
) -> SpokenCorpus:
    """As `make_corpus`, for networks that hear more than a rhythm: each person moves to a stretch of one of
    the 16 kHz `voices`, at another pace (0.85-1.18) and loudness, with pauses cut in."""
    t = round(seconds * FPS)
    normal = np.empty((people, t, SERIES), np.float32)
    wavs = np.empty((people, t * 640), np.float32)
    for k in range(people):
        rng = np.random.default_rng([seed, first + k, 1])
        voice = voices[rng.integers(len(voices))]
        at = rng.integers(len(voice)) + rng.uniform(0.85, 1.18) * np.arange(t * 640)
        wav = np.interp(at % len(voice), np.arange(len(voice)), voice) * np.exp(rng.uniform(-1.5, 0.3))
        for _ in range(rng.integers(0, 4)):
            start, length = rng.integers(len(wav)), rng.integers(4000, 24000)
            wav[start : start + length] *= 0.001
        wavs[k] = wav
        rhythm = np.asarray(voice_rhythm(wavs[k], t))
        normal[k] = draw_motion(rng, draw_temper(rng), rhythm)
    return SpokenCorpus(normal, wavs)
