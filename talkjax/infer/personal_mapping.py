"""Fits the sound-to-face mapping to one person: the general network fine-tuned, a ridge regression, blended.

On a few hundred frames a linear map and a small network make different mistakes; their mean beats both. The
number of steps and the ridge's strength are chosen on the last 15 % of the training frames, then everything
is fitted again on all of them.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.audio.mfcc import mfcc_windows
from talkjax.config import MappingConfig, config_hash
from talkjax.errors import InputError
from talkjax.evaluate.speech import auc
from talkjax.infer.general_weights import GeneralNetwork, load_general
from talkjax.infer.mapping_data import PersonalData, fitted_wav
from talkjax.infer.mapping_session import Mapping as Mapping
from talkjax.infer.person import Person, Segment
from talkjax.progress import SILENT, Progress, Ticker
from talkjax.tasks import mapping as paper
from talkjax.tasks import mapping_personal as personal
from talkjax.tasks.mapping_targets import Targets, fit_targets, relative_pose
from talkjax.track.durable import read_json, write_json
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import load_params, save_params
from talkjax.types import FaceModel

VALIDATION_SHARE = 0.15
RIDGE_STRENGTHS = (1000.0, 3000.0, 10000.0)
RIDGE_SHARE = 0.7
"""Best of 0.5, 0.7, 0.85 and 1 in the mean of cross-validations within both halves of the development
clip."""
CHECK_EVERY = 10
SAVE_EVERY = 200
SCRATCH_RATE = 1e-3
"""Of a network that begins at random, which has further to go."""
SILENT_DB = -60.0


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


def fit_mapping(
    person: Person, wav: np.ndarray, config: MappingConfig, folder: Path, progress: Progress = SILENT
) -> None:
    """Trains and writes `mapping.npz` into `folder`; what lies there from an interrupted run is gone on with.

    Args:
      wav: 16 kHz mono sound of `person.train`, in step with the picture.
      folder: stage folder; only `mapping.npz` is left in it at the end.

    Raises:
      InputError: silent clip. DivergedError. ResumableStop.
    """
    require_sound(wav, person.name)
    fit_segment(person.model, person.train, wav, config, folder, progress)


def fit_segment(
    model: FaceModel,
    segment: Segment,
    wav: np.ndarray,
    config: MappingConfig,
    folder: Path,
    progress: Progress = SILENT,
) -> Mapping:
    """`fit_mapping` of a tracked stretch of speech; returns the mapping that it wrote."""
    fit = _fit_paper if config.preset == "paper" else _fit_default
    mapping, report = fit(model, segment, wav, config, folder, progress)
    weights = {**mapping.weights}
    if "members" in weights:
        weights["members"] = {str(k): member for k, member in enumerate(weights["members"])}
    del weights["general"]  # ships with the package
    tree = {"weights": weights, "targets": mapping.targets._asdict()}
    save_params(folder / "mapping.npz", tree, {"preset": config.preset, "report": report})
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "choice.json").unlink(missing_ok=True)
    return mapping


def _common(general: GeneralNetwork, exp: np.ndarray, closed: np.ndarray) -> dict[str, Any]:
    """What both presets need beside their own weights: sense of speech, and the closed resting mouth."""
    return {"general": general.params, "rest": np.median(exp[closed], axis=0).astype(np.float32)}


def _fit_default(
    model: FaceModel,
    segment: Segment,
    wav: np.ndarray,
    config: MappingConfig,
    folder: Path,
    progress: Progress,
) -> tuple[Mapping, dict[str, Any]]:
    data = PersonalData(model, segment, wav, config.seed)
    general = load_general()
    rate = personal.LEARNING_RATE if config.init == "general" else SCRATCH_RATE
    task = _task(data.targets.n_exp, config.steps, rate)
    choice = _choice(task, data, general, config, folder, progress)
    start, copies = _start(data, general, config, len(data)), data.copies(len(data))
    members = []
    for member in range(personal.MEMBERS):
        seed = personal.MEMBERS * config.seed + member
        batches = data.batches(copies, personal.BATCH, personal.SEQUENCE_FRAMES, seed)
        checkpoints = folder / "checkpoints" / str(member)
        label = f"mapping {member + 1}/{personal.MEMBERS}"
        state = task.init(data.targets, seed, start)
        state = _train(task, state, batches, choice["steps"], checkpoints, config, progress, label)
        members.append(jax.tree.map(np.asarray, state.params))
    ridge = data.ridge(len(data), choice["ridge"])
    predict = jax.jit(task.standardised)
    logits = np.mean([predict(member, jnp.asarray(data.normal))[:, -1] for member in members], axis=0)
    weights = {
        "members": tuple(members),
        "ridge_weights": ridge[0],
        "ridge_bias": ridge[1],
        "share": np.float32(RIDGE_SHARE),
        "gain": np.float32(personal.GAIN),
        "press": personal.calibrated_press(logits, float(data.closed.mean()), choice["closed_auc"]),
        **_common(general, segment.exp, data.rest_frames),
    }
    return Mapping("default", data.targets, weights), choice


@functools.lru_cache(maxsize=4)  # the same task is compiled once in a process
def _task(n_exp: int, steps: int, rate: float) -> personal.PersonalMappingTask:
    return personal.PersonalMappingTask(n_exp, steps, learning_rate=rate)


def _start(data: PersonalData, general: GeneralNetwork, config: MappingConfig, n_frames: int) -> Any:
    if config.init == "scratch":
        return None
    outputs = np.concatenate(general.outputs(data.rows), axis=1)[:n_frames]
    return personal.general_start(general.params, outputs, data.target[:n_frames], data.closed[:n_frames])


def _choice(
    task: personal.PersonalMappingTask,
    data: PersonalData,
    general: GeneralNetwork,
    config: MappingConfig,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Ridge strength and number of steps that are best on the last frames; kept for a resumed run."""
    file = folder / "choice.json"
    if file.exists():
        return dict(read_json(file))
    fit = int(len(data) * (1 - VALIDATION_SHARE))
    held = slice(fit, len(data))
    ridges = {s: data.apply_ridge(data.ridge(fit, s)) for s in RIDGE_STRENGTHS}
    strength = min(ridges, key=lambda s: data.lip_error(ridges[s], held))
    seed = personal.MEMBERS * config.seed
    predict = jax.jit(task.standardised)
    errors: dict[int, float] = {}
    aucs: dict[int, float] = {}

    def check(state: Any, step: int) -> None:
        out = np.asarray(predict(state.params, jnp.asarray(data.normal)))
        net, aucs[step] = out[:, :-1], auc(out[held, -1], data.closed[held] > 0.5)
        errors[step] = data.lip_error(RIDGE_SHARE * ridges[strength] + (1 - RIDGE_SHARE) * net, held)

    with progress("mapping: length", config.steps) as ticker, StopSignals() as stop:
        last = run_steps(
            task.train_step,
            task.init(data.targets, seed, _start(data, general, config, fit)),
            data.batches(data.copies(fit), personal.BATCH, personal.SEQUENCE_FRAMES, seed),
            config.steps,
            on_step=lambda step, metrics: _tick(ticker),
            save_every=CHECK_EVERY,
            save_fn=check,
            stop_requested=stop,
            chunk=1,
        )
    if config.steps not in errors:
        check(last, config.steps)
    steps = min(errors, key=lambda s: errors[s])
    choice = {"steps": steps, "ridge": strength, "validation_error": errors[steps], "init": config.init}
    choice["closed_auc"] = aucs[steps] if np.isfinite(aucs[steps]) else 0.0  # none or all of them closed
    write_json(file, choice)
    return choice


def _fit_paper(
    model: FaceModel,
    segment: Segment,
    wav: np.ndarray,
    config: MappingConfig,
    folder: Path,
    progress: Progress,
) -> tuple[Mapping, dict[str, Any]]:
    n = len(segment)
    pose = np.concatenate([segment.euler, segment.translation], axis=1)
    data = PersonalData(model, segment, wav, config.seed)
    targets: Targets = fit_targets(
        segment.exp, pose, model, data.rest_frames, paper=True, relative=config.relative_pose
    )
    shown = relative_pose(pose) if config.relative_pose else pose
    values = np.concatenate([segment.exp, shown], axis=1)
    target = ((values - targets.mean) / targets.scale).astype(np.float32)
    windows = np.asarray(mfcc_windows(jnp.asarray(fitted_wav(wav, n)), n))
    length = min(paper.SEQUENCE, n)

    def batch(step: int) -> paper.MappingBatch:
        rng = np.random.default_rng([config.seed, step])
        starts = rng.integers(0, n - length + 1, paper.BATCH)
        return paper.MappingBatch(*(np.stack([x[s : s + length] for s in starts]) for x in (windows, target)))

    task = paper.MappingTask(targets, config.seed)
    state = _train(
        task, task.init(), batch, config.steps, folder / "checkpoints", config, progress, "mapping"
    )
    weights = {
        "variables": jax.tree.map(np.asarray, state.variables),
        "start_pose": pose.mean(0).astype(np.float32),
        **_common(load_general(), segment.exp, data.rest_frames),
    }
    return Mapping("paper", targets, weights), {"steps": config.steps}


def _train(
    task: Any,
    state: Any,
    batches: Callable[[int], Any],
    steps: int,
    checkpoints: Path,
    config: MappingConfig,
    progress: Progress,
    label: str,
) -> Any:
    """Trains to `steps`; resumes from `checkpoints`."""
    digest, start = config_hash(config), 0
    if found := restore_checkpoint(checkpoints, state, config_hash=digest):
        state, start = found

    def save(state: Any, step: int) -> None:
        save_checkpoint(checkpoints, step, state, config_hash=digest)

    with progress(label, steps) as ticker, StopSignals() as stop:
        ticker.update(start)
        state = run_steps(
            task.train_step,
            state,
            batches,
            steps,
            start=start,
            on_step=lambda step, metrics: _tick(ticker),
            save_every=SAVE_EVERY,
            save_fn=save,
            stop_requested=stop,
            chunk=None if config.preset == "paper" else 1,
        )
    if start < steps:
        save(state, steps)
    return state


def _tick(ticker: Ticker) -> None:
    ticker.update(1)


def load_mapping(folder: Path) -> Mapping:
    """The mapping of a finished stage folder."""
    tree, metadata = load_params(folder / "mapping.npz")
    weights = dict(tree["weights"])
    if "members" in weights:
        weights["members"] = tuple(weights["members"][k] for k in sorted(weights["members"]))
    weights["general"] = load_general().params
    return Mapping(metadata["preset"], Targets(**tree["targets"]), weights)


__all__ = ["Mapping", "fit_mapping", "fit_segment", "load_mapping", "require_sound"]
