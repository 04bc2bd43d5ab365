"""Sound and targets of one person as training sequences: the clip itself, and copies spoken faster, slower,
elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from scipy.signal import fftconvolve, resample_poly

from talkjax.audio.log_mel import HOP, log_mel
from talkjax.audio.running import normalize_rows
from talkjax.evaluate.speech import lip_opening
from talkjax.face.model import FaceModel
from talkjax.infer.person import Segment
from talkjax.tasks.linear_path import apply_linear_path, fit_linear_path
from talkjax.tasks.mapping_personal import PersonalBatch
from talkjax.tasks.mapping_targets import CLOSED, Targets, fit_targets

SAMPLES = 640
PIECE = 100 * SAMPLES
COPIES = 24
SPEEDS = (0.86, 0.92, 0.96, 1.0, 1.04, 1.08, 1.15)
CONTEXT_ROWS = 12


def fitted_wav(wav: np.ndarray, n_frames: int) -> np.ndarray:
    """Cut, or continued in silence, to the length of the video."""
    wav = np.asarray(wav, np.float32)[: n_frames * SAMPLES]
    return np.pad(wav, (0, n_frames * SAMPLES - len(wav)))


def raw_rows(wav: np.ndarray) -> np.ndarray:
    """`log_mel` of 16 kHz sound, `[n // 160, 40]`; silence fills it up to few lengths that are compiled."""
    filled = np.zeros(-(-len(wav) // PIECE) * PIECE, np.float32)
    filled[: len(wav)] = wav
    return np.asarray(log_mel(jnp.asarray(filled)))[: len(wav) // HOP]


def linear_windows(normal_rows: np.ndarray, n_frames: int) -> np.ndarray:
    """`[t 28 40]` normalised rows around each frame; zeros beyond both ends, as the stream sees them."""
    padded = np.pad(normal_rows, ((CONTEXT_ROWS, CONTEXT_ROWS + 4), (0, 0)))
    index = np.arange(n_frames)[:, None] * 4 + np.arange(2 * CONTEXT_ROWS + 4)
    return padded[index]


def closed_frames(landmarks: np.ndarray) -> np.ndarray:
    """`[t]` bool: lips less than 1 % of the eye distance apart."""
    return lip_opening(landmarks) < CLOSED


def _rest_frames(landmarks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """`[t]` bool: the valid frames with closed lips, at least the tenth with the least opening."""
    opening = np.where(valid, lip_opening(landmarks), np.inf)
    return valid & (opening <= max(CLOSED, float(np.quantile(opening[valid], 0.1))))


@dataclasses.dataclass(frozen=True)
class Copy:
    """One way the training part could have been recorded: raw rows `[4t 40]`, targets `[t e+6]`, closed
    `[t]`."""

    rows: np.ndarray
    target: np.ndarray
    closed: np.ndarray


class PersonalData:
    """What one person's mapping learns from.

    Attributes:
      target: `[t e+6]` standardised. closed: `[t]`. rest_frames: `[t]` bool, lips shut. rows: raw log-mel of
        the whole training sound `[4t 40]`.
      normal: the same, normalised from the start on. windows: for the ridge `[t 28 40]`.
    """

    def __init__(self, model: FaceModel, segment: Segment, wav: np.ndarray, seed: int):
        n = len(segment)
        pose = np.concatenate([segment.euler, segment.translation], axis=1)
        self.valid = np.asarray(segment.valid, bool)
        self.closed = closed_frames(segment.landmarks).astype(np.float32)
        self.rest_frames = _rest_frames(segment.landmarks, self.valid)
        self.targets: Targets = fit_targets(segment.exp, pose, model, self.rest_frames)
        values = np.concatenate([segment.exp, pose], axis=1)
        self.target = ((values - self.targets.mean) / self.targets.scale).astype(np.float32)
        self.wav, self.seed = fitted_wav(wav, n), seed
        self.rows = raw_rows(self.wav)
        self.normal = np.asarray(normalize_rows(jnp.asarray(self.rows)))
        self.windows = linear_windows(self.normal, n)

    def __len__(self) -> int:
        return len(self.target)

    def copies(self, n_frames: int) -> list[Copy]:
        """The first `n_frames` frames, and copies of them at other speeds, in rooms and with noise."""
        copies = [Copy(self.rows[: 4 * n_frames], self.target[:n_frames], self.closed[:n_frames])]
        wav = self.wav[: n_frames * SAMPLES]
        for k in range(COPIES):
            rng = np.random.default_rng([self.seed, 31, k])
            speed = float(rng.choice(SPEEDS))
            sound = resample_poly(wav, 1000, round(1000 * speed)).astype(np.float32)
            count = len(sound) // SAMPLES
            source = (np.arange(count) + 0.5) * speed - 0.5
            place = np.clip(source, 0, n_frames - 1)
            low = np.minimum(place.astype(int), n_frames - 2)
            share = (place - low)[:, None].astype(np.float32)
            target = (1 - share) * self.target[low] + share * self.target[low + 1]
            closed = (1 - share[:, 0]) * self.closed[low] + share[:, 0] * self.closed[low + 1]
            copies.append(Copy(raw_rows(_elsewhere(sound, rng))[: 4 * count], target, closed))
        return copies

    def batches(
        self, copies: list[Copy], size: int, length: int, seed: int
    ) -> Callable[[int], PersonalBatch]:
        """Step -> sequences of the copies."""
        length = min(length, min(len(c.target) for c in copies))

        def batch(step: int) -> PersonalBatch:
            rng = np.random.default_rng([seed, 32, step])
            rows, target, closed = [], [], []
            for _ in range(size):
                copy = copies[rng.integers(len(copies))]
                start = int(rng.integers(0, len(copy.target) - length + 1))
                rows.append(copy.rows[4 * start : 4 * (start + length)])
                target.append(copy.target[start : start + length])
                closed.append(copy.closed[start : start + length])
            return PersonalBatch(*(np.stack(column) for column in (rows, target, closed)))

        return batch

    def ridge(self, n_frames: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Linear path from windows to standardised targets, fitted on the first `n_frames` valid frames."""
        used = np.flatnonzero(self.valid[:n_frames])
        return fit_linear_path(self.windows[used], self.target[used], strength)

    def lip_error(self, predicted: np.ndarray, frames: slice) -> float:
        """Mean squared error of the lip opening, in its own spread, of standardised predictions `[t
        e+6..]`."""
        n = self.targets.n_exp
        error = (predicted[frames, :n] - self.target[frames, :n]) @ self.targets.gap / self.targets.gap_scale
        return float(np.mean(error[self.valid[frames]] ** 2))

    def apply_ridge(self, ridge: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return apply_linear_path(self.windows, ridge)


def _elsewhere(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sound in a room (half of the time) with white noise 12 to 45 dB under it."""
    if rng.random() < 0.5:
        n = int(16_000 * rng.uniform(0.05, 0.35))
        echo = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * rng.uniform(0.02, 0.1)
        echo[0] = 1.0
        sound = fftconvolve(sound, echo)[: len(sound)]
    noise = rng.standard_normal(len(sound)) * (np.std(sound) + 1e-6) * 10 ** (-rng.uniform(12, 45) / 20)
    return (sound + noise).astype(np.float32)
