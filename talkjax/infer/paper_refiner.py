"""The `paper` preset's refiner of one person: training data, training, and use (reference.md §5.3-5.6).

Two networks of the reference are not part of talkjax: the picture feature trained on photographs (the
memory's query) and the face-recognition feature (its values). Embedded substitutes stand in: a trunk with
random weights of a fixed seed, and the tracker's texture statistics of each frame behind a fixed random
projection. Both are named in the saved file.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from talkjax.config import RefinerConfig, config_hash
from talkjax.infer import compose
from talkjax.infer.descriptors import appearance_values
from talkjax.infer.layers import FrameLayers, Layers
from talkjax.infer.person import Person
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.infer.training_data import own_motion, to_bytes
from talkjax.progress import SILENT, Progress
from talkjax.rng import stream_key
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask, PaperState, Trunk
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import save_params
from talkjax.types import MemoryBank

ENLARGED = 286 / 256  # training pictures before the random crop, times the network's size
READ_EVERY = 25  # frames between reads of the memory
SAVE_EVERY = 500  # steps; one checkpoint of full size takes 3 GiB
CALIBRATION_FRAMES = 24
PROJECTION_SEED = 512
SUBSTITUTES = {
    "picture_feature": "random weights of a fixed seed, not trained on photographs",
    "identity_feature": "texture statistics of the tracked face, not a face-recognition network",
}
_BANK = ("keys", "values", "age", "source_id")
_log = logging.getLogger(__name__)


def identity_features(values: Float[np.ndarray, "t v"], size: int) -> Float[np.ndarray, "t d"]:
    """Unit vectors of `size` numbers from each frame's texture statistics, by a fixed random projection."""
    projection = np.random.default_rng(PROJECTION_SEED).normal(size=(values.shape[1], size))
    features = values @ projection
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def resized(image: UInt8[np.ndarray, "s s 3"], size: int) -> UInt8[np.ndarray, "n n 3"]:
    """A square picture at another size: Lanczos up, averages down."""
    if image.shape[0] == size:
        return image
    how = cv2.INTER_LANCZOS4 if size > image.shape[0] else cv2.INTER_AREA
    return cv2.resize(image, (size, size), interpolation=how)


def bare_composite(layers: Layers) -> UInt8[np.ndarray, "s s 3"]:
    """The bare render over the background."""
    return to_bytes(compose.composite(layers.bare, layers.background, layers.alpha))


@dataclasses.dataclass(frozen=True)
class PaperData:
    """One row per training frame: bare and target `[t e e 3]` uint8, larger than the network's `size`;
    identity `[t v]`; valid `[t]`."""

    bare: np.ndarray
    target: np.ndarray
    identity: np.ndarray
    valid: np.ndarray
    size: int
    flip: bool

    def batch(self, rng: np.random.Generator, k: int) -> PaperBatch:
        """Frame k behind a random crop and flip, the same for the window and the target."""
        window = np.concatenate([self.bare[max(k - d, 0)] for d in (2, 1, 0)], axis=-1)
        y, x = rng.integers(0, self.bare.shape[1] - self.size + 1, 2)
        mirror = -1 if self.flip and rng.random() < 0.5 else 1

        def cut(image: np.ndarray) -> np.ndarray:
            part = image[y : y + self.size, x : x + self.size]
            return np.ascontiguousarray(part[:, ::mirror])[None]

        return PaperBatch(cut(window), cut(self.target[k]), self.identity[k : k + 1], np.array([k], np.int32))


def build_paper_data(
    person: Person, settings: PaperRefinerSettings, progress: Progress = SILENT
) -> PaperData:
    """Renders the bare composites of all training frames."""
    segment, enlarged = person.train, round(ENLARGED * settings.size)
    t = len(segment)
    frames = FrameLayers(person, own_motion(segment), segment)
    bare = np.zeros((t, enlarged, enlarged, 3), np.uint8)
    target = np.zeros_like(bare)
    with progress("training data", t) as ticker:
        for k, host, layers in frames.frames():
            bare[k] = resized(bare_composite(layers), enlarged)
            target[k] = resized(host.crop, enlarged)
            ticker.update(1)
    identity = identity_features(appearance_values(person.bank, person.zones), settings.n_values)
    return PaperData(bare, target, identity, segment.valid, settings.size, settings.flip)


class _HandOver:
    """A leaf that is given away when it is read: the training loop copies its state, and two of this size
    would not fit into an ordinary computer's memory."""

    def __init__(self, array: Any):
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array, self._array = np.asarray(self._array, dtype), None
        return array


def fit_paper_refiner(
    person: Person,
    config: RefinerConfig,
    folder: Path,
    progress: Progress = SILENT,
    settings: PaperRefinerSettings | None = None,
) -> None:
    """Trains and writes `refiner.npz` into `folder`; checkpoints there make it resumable.

    Raises:
      DivergedError: the losses left the finite numbers.
      ResumableStop: a signal asked to stop; everything is saved.
    """
    _log.warning(
        "paper preset: no outside weights at hand; picture feature: %s; identity feature: %s",
        SUBSTITUTES["picture_feature"],
        SUBSTITUTES["identity_feature"],
    )
    settings = settings or PaperRefinerSettings(seed=config.seed)
    task = PaperRefinerTask(settings)
    data = build_paper_data(person, settings, progress)
    usable = np.flatnonzero(data.valid)
    some = usable[np.linspace(0, len(usable) - 1, CALIBRATION_FRAMES).astype(int)]
    trunk = task.calibrated(task.random_trunk(), jnp.stack([resized(data.bare[k], data.size) for k in some]))

    def batch(step: int) -> PaperBatch:
        epoch, place = divmod(step, len(usable))
        order = np.random.default_rng([config.seed, 1, epoch]).permutation(usable)
        return data.batch(np.random.default_rng([config.seed, 2, step]), int(order[place]))

    losses: list[float] = []
    state = _train(task, config, folder, batch, trunk, losses, progress)
    report = {"loss": float(np.mean(losses[-200:])) if losses else None, "steps": config.steps}
    save_paper_refiner(folder, settings, state, trunk, report, all_frames=config.all_frames)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _train(
    task: PaperRefinerTask,
    config: RefinerConfig,
    folder: Path,
    batch: Callable[[int], PaperBatch],
    trunk: Trunk,
    losses: list[float],
    progress: Progress,
) -> PaperState:
    digest = config_hash(config)
    found = restore_checkpoint(folder / "checkpoints", jax.eval_shape(task.init), config_hash=digest)
    start = found[1] if found else 0
    handed = jax.tree.map(_HandOver, found[0] if found else task.init())
    found = None  # the loop's copy is to be the only one
    with progress("refiner", config.steps) as ticker, StopSignals() as stop:
        ticker.update(start)

        def on_step(step: int, metrics: dict[str, float]) -> None:
            losses.append(metrics["loss"])
            ticker.update(1)

        return run_steps(
            task.train_step,
            handed,
            batch,
            config.steps,
            data=trunk,
            start=start,
            on_step=on_step,
            save_every=SAVE_EVERY,
            save_fn=lambda s, step: save_checkpoint(folder / "checkpoints", step, s, config_hash=digest),
            stop_requested=stop,
        )


def save_paper_refiner(
    folder: Path,
    settings: PaperRefinerSettings,
    state: PaperState,
    trunk: Trunk,
    report: dict[str, Any],
    *,
    all_frames: bool = False,
) -> None:
    """Writes `refiner.npz`: what use needs, 1.2 GB at full size."""
    tree = {
        "params": state.params,
        "query": state.query,
        "bank": {name: getattr(state.bank, name) for name in _BANK},
        "trunk": {"params": trunk.params, "mean": trunk.mean, "scale": trunk.scale},
    }
    metadata = {
        "preset": "paper",
        "all_frames": all_frames,
        "settings": dataclasses.asdict(settings),
        "substitutes": SUBSTITUTES,
        "report": report,
    }
    save_params(folder / "refiner.npz", tree, metadata)


def paper_refiner_from(tree: dict[str, Any], metadata: dict[str, Any]) -> PaperRefiner:
    """The refiner from what `load_params` gave."""
    tree = jax.tree.map(jnp.asarray, tree)  # once: a gigabyte is not to be moved for every frame
    return PaperRefiner(
        task=PaperRefinerTask(PaperRefinerSettings(**metadata["settings"])),
        params=tree["params"],
        query=tree["query"],
        bank=MemoryBank(**tree["bank"]),
        trunk=Trunk(**tree["trunk"]),
        all_frames=metadata["all_frames"],
    )


@partial(jax.jit, static_argnums=0)
def _read(task: PaperRefinerTask, trunk: Trunk, query: Any, bank: MemoryBank, picture: Any) -> jax.Array:
    return task.read(trunk, query, bank, picture)


@partial(jax.jit, static_argnums=0)
def _refine(task: PaperRefinerTask, params: Any, code: Any, window: Any, key: jax.Array | None) -> jax.Array:
    return jnp.clip((task.refine(params, code, window, key) + 1) / 2, 0, 1)


@dataclasses.dataclass(frozen=True)
class PaperRefiner:
    """A personal refiner of the `paper` preset, ready for frames."""

    task: PaperRefinerTask
    params: Any
    query: Any
    bank: MemoryBank
    trunk: Trunk
    preset: str = "paper"
    all_frames: bool = False  # trained on held-out frames too
    appearance: None = None

    def sequence(
        self, features: ZoneFeatures, layers_at: Callable[[int], Layers] | None = None
    ) -> Callable[[int, Layers], np.ndarray]:
        """A function (frame number, layers) -> refined face `[s s 3]` in [0, 1]; call it in order.

        The memory is read at every 25th frame and at the last, and interpolated between (§5.6).

        Args:
          features: one row per frame of the sequence.
          layers_at: layers of any frame, to read the memory ahead. Without it the same reads come into effect
            one second later: between frames 25 and 50, from the value of frame 0 to that of 25.
        """
        size, n = self.task.settings.size, len(features[0])
        reads: dict[int, np.ndarray] = {}
        past: list[np.ndarray] = []

        def read(k: int, picture: np.ndarray | None = None) -> np.ndarray:
            if k not in reads:
                if picture is None:
                    assert layers_at is not None
                    picture = resized(bare_composite(layers_at(k)), size)
                reads[k] = np.asarray(_read(self.task, self.trunk, self.query, self.bank, picture[None]))
            return reads[k]

        def code(k: int, picture: np.ndarray) -> np.ndarray:
            begin = k - k % READ_EVERY
            if k == begin:
                read(k, picture)
            if layers_at is None:
                return _between(read(max(begin - READ_EVERY, 0)), read(begin), (k - begin) / READ_EVERY)
            end = min(begin + READ_EVERY, n - 1)
            return _between(read(begin), read(end), (k - begin) / max(end - begin, 1))

        def refine(k: int, layers: Layers) -> np.ndarray:
            bare = resized(bare_composite(layers), size)
            past[:] = [bare] * 3 if not past else [*past[-2:], bare]
            window = np.concatenate(past, axis=-1)[None]
            in_use = self.task.settings.dropout_in_use
            key = stream_key(self.task.settings.seed, "dropout in use", k) if in_use else None
            picture = np.asarray(_refine(self.task, self.params, code(k, bare), window, key))[0]
            side = layers.alpha.shape[0]
            if side != size:
                how = cv2.INTER_CUBIC if side > size else cv2.INTER_AREA
                picture = np.clip(cv2.resize(picture, (side, side), interpolation=how), 0, 1)
            return picture

        return refine


def _between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return (np.float32(1 - share) * a + np.float32(share) * b).astype(np.float32)
