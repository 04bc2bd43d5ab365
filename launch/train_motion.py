"""Trains the general weights of head motion on the generated corpus, and writes them.

    python -m launch.train_motion --out=motion.npz                         # what the package ships
    python -m launch.train_motion --preset=paper --steps=20000 --out=paper_motion.npz

Everything follows from the seed. `--people` and `--steps` scale it; it can be stopped and started again
(`--checkpoints`). The corpus is made in memory; docs/motion.md describes it. `paper` trains the follow-up
paper's networks (12.4 M parameters) on people who move to the embedded voices.
"""

from __future__ import annotations

import concurrent.futures
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import talkjax  # noqa: F401  (before JAX)

import jax  # isort: skip
import numpy as np
from absl import app, flags

from talkjax import __version__
from talkjax.audio.mfcc import mfcc
from talkjax.audio.rhythm import pooled_rhythm
from talkjax.config import config_hash
from talkjax.data.motion_corpus import Corpus, SpokenCorpus, make_corpus, make_spoken_corpus
from talkjax.data.synthetic_voice import load_voice
from talkjax.infer.head_style import KEY_STRIDE
from talkjax.tasks.motion import (
    FRAMES_SEEN,
    FRAMES_TOLD,
    KEYS_SEEN,
    KEYS_TOLD,
    MotionBatch,
    MotionState,
    MotionTask,
)
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import save_params

_OUT = flags.DEFINE_string("out", None, "the .npz to write", required=True)
_PRESET = flags.DEFINE_enum("preset", "lite", ["lite", "paper"], "which networks")
_STEPS = flags.DEFINE_integer("steps", 4000, "optimizer steps", lower_bound=1)
_PEOPLE = flags.DEFINE_integer("people", 3000, "people in the corpus", lower_bound=20)
_BATCH = flags.DEFINE_integer("batch", 32, "people per step", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "the run's only seed", lower_bound=0)
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "folder for checkpoints; none: not resumable")
_WORKERS = flags.DEFINE_integer(
    "workers", os.cpu_count() or 1, "processes that make the corpus", lower_bound=1
)

EVALUATED = 64  # people who are never trained on
SHARE_HELD_BACK = 0.02


def build_corpus(seed: int, people: int, workers: int) -> Corpus:
    """The corpus, made in pieces; the number of workers does not change it."""
    pieces = [(seed, min(100, people - first), 48.0, first) for first in range(0, people, 100)]
    if workers == 1:
        made = [make_corpus(*piece) for piece in pieces]
    else:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            made = list(pool.map(make_corpus, *zip(*pieces, strict=True)))
    return Corpus(*(np.concatenate(parts) for parts in zip(*made, strict=True)))


def lite_batches(corpus: Corpus, seed: int, size: int, people: slice) -> Callable[[int], MotionBatch]:
    """Step -> two stretches of some people, which do not overlap."""
    index = np.arange(len(corpus.normal))[people]
    span, voice = corpus.normal.shape[1], pooled_rhythm(corpus.voice)
    seen, told = KEYS_SEEN * KEY_STRIDE, KEYS_TOLD * KEY_STRIDE

    def batch(step: int) -> MotionBatch:
        rng = np.random.default_rng([seed, step])
        who = rng.choice(index, size, replace=len(index) < size)
        parts: tuple[list[np.ndarray], ...] = ([], [], [], [])
        for k in who:
            first = rng.integers(0, span - seen - told + 1)
            swap = rng.uniform() < 0.5
            a, b = (first + told, first) if swap else (first, first + seen)
            for out, source, start, length in (
                (parts[0], corpus.normal, a, seen),
                (parts[1], voice, a, seen),
                (parts[2], corpus.normal, b, told),
                (parts[3], voice, b, told),
            ):
                out.append(source[k, start : start + length : KEY_STRIDE])
        return MotionBatch(*(np.stack(part) for part in parts))

    return batch


def paper_batches(corpus: SpokenCorpus, seed: int, size: int, people: slice) -> Callable[[int], MotionBatch]:
    """The same for the follow-up paper's networks: 300 frames are seen, 100 others told with their MFCC."""
    index = np.arange(len(corpus.normal))[people]
    span = corpus.normal.shape[1]

    def batch(step: int) -> MotionBatch:
        rng = np.random.default_rng([seed, step])
        who = rng.choice(index, size, replace=len(index) < size)
        swap = rng.uniform(size=size) < 0.5
        first = rng.integers(0, span - FRAMES_SEEN - FRAMES_TOLD + 1, size)
        a, b = np.where(swap, (first + FRAMES_TOLD, first), (first, first + FRAMES_SEEN))
        seen = np.stack([corpus.normal[k, s : s + FRAMES_SEEN] for k, s in zip(who, a, strict=True)])
        told = np.stack([corpus.normal[k, s : s + FRAMES_TOLD] for k, s in zip(who, b, strict=True)])
        sound = np.stack(
            [corpus.wav[k, s * 640 : (s + FRAMES_TOLD) * 640] for k, s in zip(who, b, strict=True)]
        )
        # the last rows' windows reach past the end
        heard = np.asarray(mfcc(np.pad(sound, ((0, 0), (0, 240)))))
        return MotionBatch(seen, np.zeros((size, 0)), told, heard)

    return batch


def main(argv: list[str]) -> None:
    del argv
    start = time.monotonic()
    flag_values = {"preset": _PRESET.value, "steps": _STEPS.value, "people": _PEOPLE.value}
    settings = {**flag_values, "batch": _BATCH.value, "seed": _SEED.value, "version": 2}
    if _PRESET.value == "lite":
        corpus = build_corpus(_SEED.value, _PEOPLE.value, _WORKERS.value)
    else:
        voices = [load_voice(name).wav for name in ("voice_train", "voice_drive")]
        corpus = make_spoken_corpus(_SEED.value, _PEOPLE.value, voices)
    hours, seconds = corpus.normal.shape[0] * corpus.normal.shape[1] / 90_000, time.monotonic() - start
    print(f"corpus: {_PEOPLE.value} people, {hours:.1f} h, made in {seconds:.0f} s")
    task = MotionTask(_PRESET.value, _STEPS.value, _SEED.value)
    held_back = min(EVALUATED, max(2, round(_PEOPLE.value * SHARE_HELD_BACK)))
    batches: Any = lite_batches if _PRESET.value == "lite" else paper_batches
    train = batches(corpus, _SEED.value, _BATCH.value, slice(held_back, None))
    judge = batches(corpus, _SEED.value + 1, held_back, slice(0, held_back))(0)
    state = train_from(task, train, judge, settings)
    judged = {k: round(float(v), 4) for k, v in jax.jit(task.eval_step)(state, judge).items()}
    metadata = {**settings, "talkjax": __version__, "held_back": held_back, "held_back_losses": judged}
    digest = save_params(_OUT.value, jax.device_get(state.variables), metadata)
    print(f"held-back people: {judged}")
    print(f"wrote {_OUT.value} (sha256 {digest[:16]}) in {time.monotonic() - start:.0f} s")


def train_from(
    task: MotionTask, batches: Callable[[int], MotionBatch], judge: MotionBatch, settings: dict[str, object]
) -> MotionState:
    """Trains from the last checkpoint, if there is one."""
    digest, folder = config_hash(settings), _CHECKPOINTS.value and Path(_CHECKPOINTS.value)
    state, begin = task.init(), 0
    if folder and (found := restore_checkpoint(folder, state, config_hash=digest)):
        state, begin = found
    evaluate = jax.jit(task.eval_step)

    def save(state: MotionState, step: int) -> None:
        judged = {k: round(float(v), 3) for k, v in evaluate(state, judge).items()}
        print(f"step {step}: held back {judged}", flush=True)
        if folder:
            save_checkpoint(folder, step, state, config_hash=digest)

    with StopSignals() as stop:
        return run_steps(
            task.train_step,
            state,
            batches,
            _STEPS.value,
            start=begin,
            save_every=500,
            save_fn=save,
            stop_requested=stop,
        )


if __name__ == "__main__":
    app.run(main)
