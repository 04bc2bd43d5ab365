"""Fits the refiner to one person, and uses it."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.config import RefinerConfig, config_hash
from talkjax.errors import InputError
from talkjax.infer.appearance import Appearance, appearance_from, fit_appearance
from talkjax.infer.descriptors import (
    N_FEATURES,
    N_VALUES,
    GeometryCode,
    appearance_values,
    fit_geometry_code,
)
from talkjax.infer.detail import Detail, fit_detail, with_detail
from talkjax.infer.layers import Layers
from talkjax.infer.paper_refiner import fit_paper_refiner, paper_refiner_from
from talkjax.infer.person import Person
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.infer.training_data import RefinerData, build_refiner_data, composites
from talkjax.progress import SILENT, Progress
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerInputs, RefinerState
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps
from talkjax.train.params_file import load_params, save_params
from talkjax.types import MemoryBank

SIZES = {"lite": {"width": 32}, "default": {"width": 64}}
GAN_WEIGHT = 0.005
"""A quarter of the general training's: at equal sharpness (`detail`) the discriminator costs accuracy."""
BATCH = {"lite": 1, "default": 4}
SAVE_EVERY = 250
SLOTS_PER_FRAME = 1.2  # reference.md §5.3
GENERAL_FILE = Path(__file__).parent.parent / "data" / "embedded" / "refiner_general.npz"
DETAIL_FRAMES = 32  # training frames on which the amount of detail is found


class Refiner(Protocol):
    """A personal refiner of any preset, ready for frames."""

    @property
    def preset(self) -> str: ...

    @property
    def all_frames(self) -> bool: ...

    @property
    def appearance(self) -> Appearance | None:
        """What its layers are read from; None for a refiner that sees the bare render alone."""

    def sequence(
        self, features: ZoneFeatures, layers_at: Callable[[int], Layers] | None = None
    ) -> Callable[[int, Layers], np.ndarray]:
        """A function (frame number, layers) -> refined face `[s s 3]` in [0, 1]; call it in order.

        `layers_at` gives the layers of any frame, for refiners that look ahead.
        """


@dataclasses.dataclass(frozen=True)
class LiteRefiner:
    """A personal refiner of the preset `lite` or `default`."""

    preset: str
    task: LiteRefinerTask
    params: Any
    query: np.ndarray
    bank: MemoryBank
    geometry: GeometryCode
    appearance: Appearance
    detail: Detail
    all_frames: bool = False  # trained on held-out frames too

    def sequence(
        self, features: ZoneFeatures, layers_at: Callable[[int], Layers] | None = None
    ) -> Callable[[int, Layers], np.ndarray]:
        """See `Refiner`; does not look ahead.

        The three-frame window is kept from call to call; the first frame stands in for those before it.
        """
        codes = self.geometry(features)
        past: list[np.ndarray] = []

        def refine(k: int, layers: Layers) -> np.ndarray:
            bare, many, one = composites(layers)
            past[:] = [bare] * 3 if not past else [*past[-2:], bare]
            window = np.concatenate(past, axis=-1)
            region = layers.region.astype(np.int8)
            inputs = RefinerInputs(*(x[None] for x in (window, many, one, region, codes[k])))
            picture = np.asarray(_infer(self.task, self.params, self.bank, self.query, inputs))[0]
            return with_detail(picture, one, self.detail)

        return refine


@jax.jit
def _to_unit(image: jax.Array) -> jax.Array:
    return jnp.clip((image + 1) / 2, 0, 1)


def _infer(task: LiteRefinerTask, params: Any, bank: MemoryBank, query: Any, inputs: RefinerInputs) -> Any:
    return _to_unit(_compiled(task)(params, bank, query, inputs))


_CACHE: dict[int, Callable[..., jax.Array]] = {}


def _compiled(task: LiteRefinerTask) -> Callable[..., jax.Array]:
    """One compiled forward pass per task."""
    if id(task) not in _CACHE:

        def forward(params: Any, bank: MemoryBank, query: Any, inputs: RefinerInputs) -> jax.Array:
            return task.refine(params, task.read_code(bank, query, inputs.features), inputs)

        _CACHE[id(task)] = jax.jit(forward)
    return _CACHE[id(task)]


def _settings(person: Person, config: RefinerConfig, n_frames: int) -> LiteRefinerSettings:
    return LiteRefinerSettings(
        size=person.crop_size,
        n_features=N_FEATURES,
        n_values=N_VALUES,
        n_slots=max(int(SLOTS_PER_FRAME * n_frames), 64),
        steps=config.steps,
        seed=config.seed,
        gan_weight=GAN_WEIGHT,
        dtype="float32" if jax.default_backend() == "cpu" else "bfloat16",
        **SIZES[config.preset],
    )


def begin_state(task: LiteRefinerTask, config: RefinerConfig) -> RefinerState:
    """Where training begins: with the general weights that ship, or at random."""
    state = task.init()
    if config.init == "scratch" or config.preset != "lite":
        return state
    general = load_general_refiner()
    params = jax.tree.map(jnp.asarray, general["generator"])
    query = jnp.asarray(general["query"])
    return dataclasses.replace(state, params=params, average=jax.tree.map(jnp.copy, params), query=query)


@functools.cache
def load_general_refiner(path: Path = GENERAL_FILE) -> dict[str, Any]:
    """Float32 `generator` and `query` of `launch/refiner_general.py` (docs/refiner_card.md).

    Raises:
      InputError: missing, damaged, or of another kind.
    """
    tree, metadata = load_params(path)
    if metadata.get("kind") != "refiner_general_lite":
        raise InputError(
            f"{path.name} is no general refiner of the preset lite",
            fix="make it with python -m launch.train --config=configs/refiner_general.py",
            code="weights_mismatch",
        )
    return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)


def fit_refiner(person: Person, config: RefinerConfig, folder: Path, progress: Progress = SILENT) -> None:
    """Trains and writes `refiner.npz` into `folder`; checkpoints there make it resumable.

    Raises:
      DivergedError: the losses left the finite numbers.
      ResumableStop: a signal asked to stop; everything is saved.
    """
    if config.preset == "paper":
        fit_paper_refiner(person, config, folder, progress)
        return
    geometry = fit_geometry_code(person.features)
    values = appearance_values(person.bank, person.zones)
    appearance = fit_appearance(
        person.bank, person.features, person.zones, person.texels.region, person.train.valid
    )
    data = build_refiner_data(person, appearance, geometry(person.features), values, progress)
    usable = np.flatnonzero(data.valid)
    settings = _settings(person, config, len(usable))
    task = LiteRefinerTask(settings)
    digest = config_hash(config)
    state, start = begin_state(task, config), 0
    if found := restore_checkpoint(folder / "checkpoints", state, config_hash=digest):
        state, start = found

    rows = BATCH[config.preset]

    def batch(step: int) -> Any:
        epoch, place = divmod(step * rows, len(usable))
        order = np.random.default_rng([config.seed, 1, epoch]).permutation(usable)
        rng = np.random.default_rng([config.seed, 2, step])
        return data.batch(rng, np.take(order, range(place, place + rows), mode="wrap"))

    def save(state: Any, step: int) -> None:
        save_checkpoint(folder / "checkpoints", step, state, config_hash=digest)

    losses: list[float] = []
    with progress("refiner", config.steps) as ticker, StopSignals() as stop:
        ticker.update(start)

        def on_step(step: int, metrics: dict[str, float]) -> None:
            losses.append(metrics["loss"])
            ticker.update(1)

        first = min(int(settings.gan_from * config.steps), config.steps)
        phases = [(task.train_step, config.steps)]
        if settings.gan_weight > 0:
            phases = [(task.train_step, first), (task.adversarial_step, config.steps)]
        for step_fn, end in phases:
            if start < end:
                state = run_steps(
                    step_fn,
                    state,
                    batch,
                    end,
                    start=start,
                    on_step=on_step,
                    save_every=SAVE_EVERY,
                    save_fn=save,
                    stop_requested=stop,
                )
                start = end
    detail = _fit_detail(task, state, data, usable)
    tree = {
        "params": state.average,
        "query": state.query,
        "bank": {name: getattr(state.bank, name) for name in ("keys", "values", "age", "source_id")},
        "geometry": geometry._asdict(),
        "appearance": appearance.tree(),
    }
    report = {"loss": float(np.mean(losses[-200:])) if losses else None, "steps": config.steps}
    metadata = {
        "preset": config.preset,
        "all_frames": config.all_frames,
        "settings": dataclasses.asdict(settings),
        "detail": detail._asdict(),
        "report": report,
    }
    save_params(folder / "refiner.npz", tree, metadata)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _fit_detail(task: LiteRefinerTask, state: RefinerState, data: RefinerData, usable: np.ndarray) -> Detail:
    """On some training frames, whose layers were read without their neighbors."""
    some = usable[np.linspace(0, len(usable) - 1, min(len(usable), DETAIL_FRAMES)).astype(int)]
    pictures = []
    for k in some:
        inputs = data.inputs(np.array([k]))
        pictures.append(np.asarray(_infer(task, state.average, state.bank, state.query, inputs))[0])
    return fit_detail(np.stack(pictures), data.one[some], data.target[some], data.region[some] >= 0)


def load_refiner(folder: Path) -> Refiner:
    """The refiner of a finished stage folder."""
    tree, metadata = load_params(folder / "refiner.npz")
    if metadata["preset"] == "paper":
        return paper_refiner_from(tree, metadata)
    return LiteRefiner(
        preset=metadata["preset"],
        task=LiteRefinerTask(LiteRefinerSettings(**metadata["settings"])),
        params=tree["params"],
        query=tree["query"],
        bank=MemoryBank(**{name: jnp.asarray(value) for name, value in tree["bank"].items()}),
        geometry=GeometryCode(**tree["geometry"]),
        appearance=appearance_from(tree["appearance"]),
        detail=Detail(**metadata["detail"]),
        all_frames=bool(metadata.get("all_frames")),
    )
