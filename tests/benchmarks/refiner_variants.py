"""Variants of the `lite` refiner as data of one compiled training step: what is switched off is a number.

All frames lie on the device as uint8 and the step gathers its rows there, so that neither the host nor
compiling is waited for. What differs between variants (code, window, borrowed layers, attention,
discriminator) are `Gates`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from talkjax import numerics
from talkjax.infer.training_data import SHIFT, error_weight
from talkjax.nets import memory
from talkjax.nets.blend import GeneratorOutputs, blend
from talkjax.rng import stream_key
from talkjax.tasks.refiner_lite import (
    OWN_NEIGHBOURHOOD,
    LiteRefinerSettings,
    LiteRefinerTask,
    RefinerBatch,
    RefinerInputs,
    RefinerState,
)
from talkjax.train.loop import run_steps
from talkjax.types import MemoryBank
from tests.benchmarks.refiner_frames import Frames

STRIDE = 10_000
"""Frames of different people are never neighbours in the memory."""
POOL = 32
CHUNK = 50  # steps per call of the compiled loop


class Gates(NamedTuple):
    """Scalars. memory: the code is read from the memory (1) or is the value given with the row (0); own: only
    slots of the row's own person; nearest: how many slots are averaged; window: three frames (1) or the
    current one thrice (0); borrow: retrieved layers (1) or the bare one in their place (0); attention: as
    learned (1) or the painted colour alone (0); gan: weight of the discriminator."""

    memory: float = 1.0
    own: float = 0.0
    nearest: float = 4.0
    window: float = 1.0
    borrow: float = 1.0
    attention: float = 1.0
    gan: float = 0.02


class DeviceFrames(NamedTuple):
    """All frames of a file on the device; `before` `[t 2]` are the rows one and two frames earlier."""

    bare: Any
    many: Any
    one: Any
    target: Any
    region: Any
    weight: Any
    features: Any
    values: Any
    person: Any
    frame: Any
    before: Any


class VariantTask(LiteRefinerTask):
    """The lite refiner with gates; made anew inside each trace, so gates and rows may be traced values."""

    def __init__(self, settings: LiteRefinerSettings, gates: Gates, given: Any = None, person: Any = None):
        super().__init__(dataclasses.replace(settings, gan_weight=gates.gan))
        self.gates, self.given, self.person = gates, given, person

    def read_code(self, bank: MemoryBank, query: Any, features: Any, own: Any = None) -> jax.Array:
        code, _ = self.reading(bank, query, features, own)
        return self.gates.memory * code + (1 - self.gates.memory) * self.given

    def reading(
        self, bank: MemoryBank, query: Any, features: Any, own: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """The memory's value `[b v]`, and the share of its weight that comes from the row's own person."""
        scores = numerics.matmul(numerics.normalize(numerics.matmul(features, query)), bank.keys.T)
        source = bank.source_id[None]
        usable = source != memory.EMPTY
        if own is not None:
            usable &= jnp.abs(source - own[:, None]) > OWN_NEIGHBOURHOOD
        theirs = source // STRIDE == self.person[:, None]
        usable &= theirs | (self.gates.own < 0.5)
        top, slots = jax.lax.top_k(jnp.where(usable, scores, -2.0), POOL)
        chosen = (jnp.arange(POOL) < self.gates.nearest) & (top > -1.5)
        weight = jax.nn.softmax(jnp.where(chosen, 20.0 * top, -jnp.inf), -1)
        weight = jnp.where(jnp.any(chosen, -1, keepdims=True), weight, 0.0)
        weight = jnp.nan_to_num(weight)
        right = jnp.take_along_axis(theirs, slots, axis=1)
        return jnp.einsum("bk,bkv->bv", weight, bank.values[slots]), (weight * right).sum(-1)

    def _forward(self, params: Any, code: Any, window: Any, many: Any, one: Any, masks: Any) -> jax.Array:
        g = self.gates
        bare = window[..., -3:]
        window = jnp.where(g.window > 0.5, window, jnp.concatenate([bare] * 3, -1))
        many, one = (jnp.where(g.borrow > 0.5, x, bare) for x in (many, one))
        x = jnp.concatenate([window, many, one, masks], axis=-1)
        out: Any = self.generator.apply(params, x, code)
        painted = jnp.zeros_like(out.attention).at[..., -1].set(1.0)
        attention = jnp.where(g.attention > 0.5, out.attention, painted)
        residual = jnp.where(g.attention > 0.5, out.residual, 0.0)
        return blend(GeneratorOutputs(out.color, residual, attention), [bare, many, one])


def on_device(frames: Frames) -> DeviceFrames:
    """Uploads a split."""
    at = np.arange(len(frames))
    first = np.array([np.flatnonzero(frames.identity == i)[0] for i in frames.identity])
    before = np.stack([np.maximum(at - d, first) for d in (1, 2)], axis=1)
    weight = np.stack([error_weight(region) for region in frames.region])
    rows = DeviceFrames(
        frames.bare,
        frames.many,
        frames.one,
        frames.target,
        frames.region,
        weight,
        frames.features,
        frames.values,
        frames.identity.astype(np.int32),
        frames.frame.astype(np.int32),
        before.astype(np.int32),
    )
    return jax.tree.map(jnp.asarray, rows)


def gather(data: DeviceFrames, rows: Any, shifts: Any) -> tuple[RefinerBatch, jax.Array]:
    """A batch of frames `rows` `[b]`, each rolled by `shifts` `[b 2]`, and the person of each."""

    def moved(images: Any) -> jax.Array:
        return jax.vmap(lambda image, shift: jnp.roll(image, shift, (0, 1)))(images[rows], shifts)

    early = data.before[rows]
    window = [data.bare[early[:, 1]], data.bare[early[:, 0]], data.bare[rows]]
    window = jnp.concatenate(window, axis=-1)
    window = jax.vmap(lambda image, shift: jnp.roll(image, shift, (0, 1)))(window, shifts)
    region = moved(data.region)
    inputs = RefinerInputs(window, moved(data.many), moved(data.one), region, data.features[rows])
    person = data.person[rows]
    source = person * STRIDE + data.frame[rows]
    batch = RefinerBatch(inputs, moved(data.target), moved(data.weight), data.values[rows], source)
    return batch, person


def schedule(
    usable: np.ndarray, size: int, steps: int, batch: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[steps b]` (epochs of permutations) and shifts `[steps b 2]`, as in fine-tuning."""
    epochs = -(-steps * batch // len(usable))
    order = [np.random.default_rng([seed, 1, e]).permutation(usable) for e in range(epochs)]
    rows = np.concatenate(order)[: steps * batch].reshape(steps, batch)
    most = max(round(SHIFT * size / 256), 1) if size < 256 else SHIFT
    shifts = np.random.default_rng([seed, 2]).integers(-most, most + 1, (steps, batch, 2))
    return rows.astype(np.int32), shifts.astype(np.int32)


def _step(adversarial: bool, settings: LiteRefinerSettings) -> Callable[..., Any]:
    def step(state: RefinerState, at: Any, data: Any) -> tuple[RefinerState, dict[str, jax.Array]]:
        frames, values, gates, seed = data
        batch, person = gather(frames, *at)
        batch = batch._replace(values=values[at[0]])
        seeded = dataclasses.replace(settings, seed=seed)
        task = VariantTask(seeded, gates, batch.values, person)
        return (task.adversarial_step if adversarial else task.train_step)(state, batch)

    return step


class Trainer:
    """The compiled loop for one set of sizes; `fit` runs one variant and one seed."""

    def __init__(self, settings: LiteRefinerSettings, data: DeviceFrames, usable: np.ndarray, batch: int):
        self.settings, self.data, self.usable, self.batch = settings, data, usable, batch
        self._steps = [_step(flag, settings) for flag in (False, True)]
        self._chunk = 1 if jax.default_backend() == "cpu" else CHUNK
        self._init = jax.jit(lambda seed: LiteRefinerTask(dataclasses.replace(settings, seed=seed)).init())
        self._refine = jax.jit(self._refined)
        self._read = jax.jit(self._reading)
        self._write = jax.jit(self._written)

    def fresh(self, seed: int) -> RefinerState:
        """An untrained state."""
        return self._init(jnp.int32(seed))

    def fit(
        self,
        gates: Gates,
        seed: int,
        values: Any | None = None,
        start: Callable[[RefinerState], RefinerState] = lambda state: state,
    ) -> RefinerState:
        """A trained state. values `[t v]`: given instead of the frames' own."""
        s = self.settings
        values = self.data.values if values is None else jnp.asarray(values, jnp.float32)
        rows, shifts = schedule(self.usable, s.size, s.steps, self.batch, seed)
        data = (self.data, values, as_arrays(gates), jnp.int32(seed))
        state = start(self.fresh(seed))
        first = int(s.gan_from * s.steps)
        for step_fn, begin, end in ((self._steps[0], 0, first), (self._steps[1], first, s.steps)):
            if begin < end:
                state = run_steps(
                    step_fn,
                    state,
                    lambda k: (rows[k], shifts[k]),
                    end,
                    data=data,
                    start=begin,
                    chunk=self._chunk,
                )
        return state

    def _task(self, gates: Gates, given: Any = None, person: Any = None) -> VariantTask:
        return VariantTask(self.settings, gates, given, person)

    def _refined(self, params: Any, code: Any, inputs: RefinerInputs, gates: Gates) -> jax.Array:
        picture = self._task(gates).refine(params, code, inputs)
        return jnp.clip((picture + 1) * 127.5 + 0.5, 0, 255).astype(jnp.uint8)

    def _reading(self, state: RefinerState, features: Any, person: Any, own: Any, gates: Gates) -> Any:
        return self._task(gates, None, person).reading(state.bank, state.query, features, own)

    def _written(self, state: RefinerState, features: Any, values: Any, source: Any) -> RefinerState:
        def write(bank: MemoryBank, row: Any) -> tuple[MemoryBank, None]:
            feature, value, number = row
            q = numerics.matmul(feature[None], state.query)
            key = stream_key(0, "fill", number)
            return memory.update(bank, q, value[None], key, number[None])[0], None

        return state.replace(bank=jax.lax.scan(write, state.bank, (features, values, source))[0])

    def write(self, state: RefinerState, rows: np.ndarray) -> RefinerState:
        """Writes frames into the memory without training: as a person is added to it."""
        d = self.data
        source = d.person[rows] * STRIDE + d.frame[rows]
        return self._write(state, d.features[rows], d.values[rows], source)

    def read(
        self, state: RefinerState, features: Any, person: Any, gates: Gates
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes `[t v]` of frames that are not in the memory, and the share from their own person."""
        own = jnp.full(len(features), -STRIDE, jnp.int32)
        code, right = self._read(state, features, jnp.asarray(person), own, as_arrays(gates))
        return np.asarray(code), np.asarray(right)

    def pictures(
        self, state: RefinerState, code: Any, frames: Frames, rows: np.ndarray, gates: Gates, batch: int = 8
    ) -> np.ndarray:
        """Refined crops `[t s s 3]` uint8 of some frames; `code` has one row for each of them."""
        made, gates = [], as_arrays(gates)
        for part in np.array_split(np.arange(len(rows)), -(-len(rows) // batch)):
            padded = np.resize(part, batch)
            at = rows[padded]
            window = np.concatenate([frames.bare2[at], frames.bare1[at], frames.bare[at]], axis=-1)
            inputs = RefinerInputs(
                window, frames.many[at], frames.one[at], frames.region[at], frames.features[at]
            )
            picture = self._refine(state.average, np.asarray(code)[padded], inputs, gates)
            made.append(np.asarray(picture)[: len(part)])
        return np.concatenate(made)


def as_arrays(gates: Gates) -> Gates:
    """Gates as float32 scalars, so that no value of theirs is compiled in."""
    return Gates(*(jnp.float32(x) for x in gates))
