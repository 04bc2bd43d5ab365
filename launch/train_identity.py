"""Draws people and trains the small face embedding that ships; docs/identity_card.md.

    python -m launch.train_identity --face_model=faces/model.npz --out=identity_small.npz

The face model is a full head with a texture, as `launch.make_faces` keeps it beside its faces. Everything
follows from the seed. Ten minutes of one core; `--checkpoints` makes it resumable (the people are then drawn
again).
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import talkjax  # noqa: F401  (before JAX)

import jax  # isort: skip
import numpy as np
from absl import app, flags

from talkjax import __version__
from talkjax.assets.model_file import load_model
from talkjax.config import config_hash
from talkjax.data.identity_faces import AT_ONCE, drawn_people, identity_batch
from talkjax.data.synthetic_faces import FaceStage
from talkjax.evaluate.identity import pair_scores, verification
from talkjax.tasks.identity import IdentityBatch, IdentitySettings, IdentityTask
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import save_params

_MODEL = flags.DEFINE_string("face_model", None, "full head (.npz) to draw", required=True)
_OUT = flags.DEFINE_string("out", None, "the .npz to write", required=True)
_PEOPLE = flags.DEFINE_integer("people", 1600, "people to learn from", lower_bound=AT_ONCE)
_LOOKS = flags.DEFINE_integer("looks", 6, "pictures of each", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 1200, "optimizer steps", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 24, "people per step, four pictures each", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "the run's only seed", lower_bound=0)
_SIZE = flags.DEFINE_integer(
    "size", 128, "side of the drawn pictures, px; the network sees 7/8", lower_bound=32
)
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "folder for checkpoints; none: not resumable")

LOOKS_PER_STEP = 4
HELD_OUT_SEED = 1002  # added to the seed of the people who are never trained on
HELD_OUT_PEOPLE = 100
SAY_EVERY = 100


def pictures_of(stage: FaceStage, seed: int, people: int) -> np.ndarray:
    """[p l s s 3] uint8."""
    parts, start = [], time.monotonic()
    groups = people // AT_ONCE
    for k, rows in enumerate(drawn_people(stage, seed, groups, _LOOKS.value, _SIZE.value)):
        parts.append(rows.images)
        if k % SAY_EVERY == 0:
            print(
                f"drawn {AT_ONCE * (k + 1)} of {people} people, {time.monotonic() - start:.0f} s", flush=True
            )
    images = np.concatenate(parts)
    return images.reshape(-1, _LOOKS.value, *images.shape[1:])


def main(argv: list[str]) -> None:
    del argv
    stage = FaceStage.of(load_model(_MODEL.value))
    settings = IdentitySettings(steps=_STEPS.value, seed=_SEED.value, side=_SIZE.value * 7 // 8)
    task = IdentityTask(settings)
    held_out = pictures_of(stage, _SEED.value + HELD_OUT_SEED, HELD_OUT_PEOPLE)
    pictures = pictures_of(stage, _SEED.value, _PEOPLE.value)
    state, start = jax.jit(task.init)(), 0
    digest = config_hash({**dataclasses.asdict(settings), "people": _PEOPLE.value, "looks": _LOOKS.value})
    if _CHECKPOINTS.value and (
        found := restore_checkpoint(Path(_CHECKPOINTS.value), state, config_hash=digest)
    ):
        state, start = found

    def batch(step: int) -> IdentityBatch:
        return identity_batch(pictures, _SEED.value, step, _BATCH.value, LOOKS_PER_STEP, settings.side)

    def say(step: int, metrics: dict[str, float]) -> None:
        if step % SAY_EVERY == 0:
            print(f"step {step}: loss {metrics['loss']:.3f}", flush=True)

    def save(state: object, step: int) -> None:
        if _CHECKPOINTS.value:
            save_checkpoint(Path(_CHECKPOINTS.value), step, state, config_hash=digest)

    with StopSignals() as stop:
        state = run_steps(
            task.train_step,
            state,
            batch,
            settings.steps,
            start=start,
            on_step=say,
            save_every=SAY_EVERY,
            save_fn=save,
            stop_requested=stop,
        )
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), state.params)
    look, edge = jax.jit(task.embed), (_SIZE.value - settings.side) // 2
    middle = held_out[:, :, edge : edge + settings.side, edge : edge + settings.side]
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), half)
    rows = np.concatenate([np.asarray(look(single, person)) for person in middle])
    figures = verification(*pair_scores(rows, np.repeat(np.arange(len(middle)), _LOOKS.value)))
    metadata = {
        "kind": "identity_small",
        "talkjax": __version__,
        "features": settings.features,
        "width": settings.width,
        "side": settings.side,
        "model": stage.model.name,
        "people": _PEOPLE.value,
        "looks": _LOOKS.value,
        "settings": dataclasses.asdict(settings),
        "report": figures,
    }
    print(f"held-out people: {figures}; sha256 {save_params(_OUT.value, half, metadata)}")


if __name__ == "__main__":
    app.run(main)
