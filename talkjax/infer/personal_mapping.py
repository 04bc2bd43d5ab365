"""Fits the sound-to-face mapping to one person: ridge regression and network, blended.

On a few hundred frames a linear map and a small network make different mistakes; their mean beats both. The
number of steps is chosen on the last 15 % of the training frames, then everything is fitted again on all of
them.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.audio.log_mel import log_mel, normalize_bands, row_windows
from talkjax.audio.mfcc import mfcc_windows
from talkjax.config import MappingConfig, config_hash
from talkjax.errors import InputError
from talkjax.infer.person import Person
from talkjax.progress import SILENT, Progress, Ticker
from talkjax.tasks.mapping import (
    BATCH,
    CONTEXT_ROWS,
    SEQUENCE,
    MappingBatch,
    MappingTask,
    Targets,
    blend_linear_path,
    fit_linear_path,
    fit_targets,
    padded_rows,
)
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import load_params, save_params

VALIDATION_SHARE = 0.15
RIDGE_STRENGTHS = (300.0, 1000.0, 3000.0)
RIDGE_SHARE = 0.5
CHECK_EVERY = 25
SAVE_EVERY = 200
SILENT_DB = -60.0

# Points of the mouth and jaw whose motion the lip losses see.
LIP_POINTS = np.array([13, 14, 61, 291, 0, 17, 78, 308, 152, 40, 270, 91, 321])


@dataclasses.dataclass(frozen=True)
class Mapping:
    """A personal mapping, ready for any voice."""

    preset: str
    task: MappingTask
    variables: Any

    def __call__(self, wav: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Expression `[t e]` and pose `[t 6]` (euler, translation) for a 16 kHz mono wav."""
        windows = sound_windows(self.preset, wav, n_frames)
        out = np.asarray(jax.jit(self.task.predict)(self.variables, jnp.asarray(windows)))
        return out[:, :-6], out[:, -6:]


def sound_rows(wav: np.ndarray, n_frames: int) -> np.ndarray:
    """Normalised log-mel rows `[4 n_frames, 40]` of 16 kHz sound, cut or padded to the video's length."""
    samples = n_frames * 640
    wav = np.pad(np.asarray(wav, np.float32)[:samples], (0, max(samples - len(wav), 0)))
    return np.asarray(normalize_bands(log_mel(jnp.asarray(wav))))


def sound_windows(preset: str, wav: np.ndarray, n_frames: int) -> np.ndarray:
    """What the network sees of each frame: `[t 28 40]` log-mel rows (lite), `[t 28 12]` MFCC (paper)."""
    if preset == "paper":
        return np.asarray(mfcc_windows(jnp.asarray(wav, jnp.float32), n_frames))
    return np.asarray(row_windows(jnp.asarray(sound_rows(wav, n_frames)), n_frames, CONTEXT_ROWS))


def require_sound(wav: np.ndarray, name: str) -> None:
    """InputError when there is nothing to learn speech from."""
    level = 20 * np.log10(np.sqrt(np.mean(wav**2)) + 1e-9) if len(wav) else -np.inf
    if level < SILENT_DB:
        what = "has no sound" if len(wav) == 0 else f"is silent ({level:.0f} dB)"
        raise InputError(
            f"the clip of identity {name!r} {what}",
            expected="the person speaking",
            fix="prepare the identity again from a clip with sound",
            code="silent_clip" if len(wav) else "no_audio",
        )


class _Problem:
    """Sound and targets of one person, and the batches made of them."""

    def __init__(self, person: Person, wav: np.ndarray, config: MappingConfig):
        segment, self.config = person.train, config
        n = len(segment)
        pose = np.concatenate([segment.euler, segment.translation], axis=1)
        lips = np.asarray(person.model.exp_basis)[:, LIP_POINTS]
        self.targets: Targets = fit_targets(segment.exp, pose, lips)
        values = np.concatenate([segment.exp, pose], axis=1)
        self.target = ((values - self.targets.mean) / self.targets.scale).astype(np.float32)
        self.windows = sound_windows(config.preset, wav, n)
        self.rows = padded_rows(sound_rows(wav, n), n)

    def batches(self, n_frames: int) -> Callable[[int], MappingBatch]:
        """Step -> batch of sequences within the first `n_frames` frames."""
        preset = self.config.preset
        length = min(SEQUENCE[preset], n_frames)

        def batch(step: int) -> MappingBatch:
            rng = np.random.default_rng([self.config.seed, step])
            starts = rng.integers(0, n_frames - length + 1, BATCH[preset])
            target = np.stack([self.target[s : s + length] for s in starts])
            if preset == "paper":
                return MappingBatch(np.stack([self.windows[s : s + length] for s in starts]), target)
            rows = 4 * length + 2 * CONTEXT_ROWS
            return MappingBatch(np.stack([self.rows[4 * s : 4 * s + rows] for s in starts]), target)

        return batch

    def lip_error(self, predicted: np.ndarray, frames: slice) -> float:
        """Mean squared lip error, dm^2, of standardised predictions."""
        n = self.targets.n_exp
        return float(np.mean(((predicted - self.target)[frames, :n] @ self.targets.lips) ** 2))

    def ridge(self, n_frames: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
        return fit_linear_path(self.windows[:n_frames], self.target[:n_frames], strength)

    def apply_ridge(self, ridge: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.einsum("trb,rbo->to", self.windows, ridge[0], optimize=True) + ridge[1]


def fit_mapping(
    person: Person, wav: np.ndarray, config: MappingConfig, folder: Path, progress: Progress = SILENT
) -> None:
    """Trains and writes `mapping.npz` into `folder`; checkpoints there make it resumable.

    Args:
      wav: 16 kHz mono sound of `person.train`.
      folder: stage folder; only `mapping.npz` is left in it at the end.

    Raises:
      InputError: silent clip. DivergedError. ResumableStop.
    """
    require_sound(wav, person.name)
    problem = _Problem(person, wav, config)
    task = MappingTask(config.preset, problem.targets, config.steps, config.seed)
    n = len(person.train)
    if config.preset == "lite":
        strength, steps, report = _choose(problem, task, n, progress)
        state = _train(problem, task, n, steps, None, progress)
        variables = blend_linear_path(state.variables, *problem.ridge(n, strength), RIDGE_SHARE)
    else:
        state = _train(problem, task, n, config.steps, folder / "checkpoints", progress)
        variables, report = state.variables, {"steps": config.steps}
    tree = {"variables": variables, "targets": problem.targets._asdict()}
    save_params(folder / "mapping.npz", tree, {"preset": config.preset, "report": report})
    _remove_checkpoints(folder)


def _choose(
    problem: _Problem, task: MappingTask, n: int, progress: Progress
) -> tuple[float, int, dict[str, Any]]:
    """Ridge strength and number of steps that are best on the last frames."""
    fit = int(n * (1 - VALIDATION_SHARE))
    held = slice(fit, n)
    ridges = {s: problem.apply_ridge(problem.ridge(fit, s)) for s in RIDGE_STRENGTHS}
    strength = min(ridges, key=lambda s: problem.lip_error(ridges[s], held))
    scale, mean = problem.targets.scale, problem.targets.mean
    predict = jax.jit(task.predict)
    errors: dict[int, float] = {}

    def check(state: Any, step: int) -> None:
        net = (np.asarray(predict(state.variables, jnp.asarray(problem.windows))) - mean) / scale
        blended = RIDGE_SHARE * ridges[strength] + (1 - RIDGE_SHARE) * net
        errors[step] = problem.lip_error(blended, held)

    with progress("mapping: length", problem.config.steps) as ticker, StopSignals() as stop:
        last = run_steps(
            task.train_step,
            task.init(),
            problem.batches(fit),
            problem.config.steps,
            on_step=lambda step, metrics: _tick(ticker),
            save_every=CHECK_EVERY,
            save_fn=check,
            stop_requested=stop,
            chunk=1,
        )
    if problem.config.steps not in errors:
        check(last, problem.config.steps)
    steps = min(errors, key=lambda s: errors[s])
    return strength, steps, {"steps": steps, "ridge": strength, "validation_error": errors[steps]}


def _train(
    problem: _Problem, task: MappingTask, n: int, steps: int, checkpoints: Path | None, progress: Progress
) -> Any:
    """Trains on the first `n` frames; resumes from `checkpoints` where given."""
    digest = config_hash(problem.config)
    state, start = task.init(), 0
    if checkpoints is not None and (found := restore_checkpoint(checkpoints, state, config_hash=digest)):
        state, start = found

    def save(state: Any, step: int) -> None:
        if checkpoints is not None:
            save_checkpoint(checkpoints, step, state, config_hash=digest)

    with progress("mapping", steps) as ticker, StopSignals() as stop:
        ticker.update(start)
        return run_steps(
            task.train_step,
            state,
            problem.batches(n),
            steps,
            start=start,
            on_step=lambda step, metrics: _tick(ticker),
            save_every=SAVE_EVERY if checkpoints is not None else 0,
            save_fn=save if checkpoints is not None else None,
            stop_requested=stop,
            chunk=1 if task.preset == "lite" else None,
        )


def _tick(ticker: Ticker) -> None:
    ticker.update(1)


def _remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def load_mapping(folder: Path) -> Mapping:
    """The mapping of a finished stage folder."""
    tree, metadata = load_params(folder / "mapping.npz")
    targets = Targets(**tree["targets"])
    preset = metadata["preset"]
    return Mapping(preset, MappingTask(preset, targets, steps=1), tree["variables"])
