"""The refiners' programs on random pictures: what `bench_roofline` and `bench_refiner` time.

Random weights and pictures do not change what a network costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax
import jax.numpy as jnp

from talkjax.infer.descriptors import N_FEATURES, N_VALUES
from talkjax.infer.personal_refiner import SIZES
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerBatch, RefinerInputs
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask

SLIM_HIDDEN = 512
"""Width of the slim form's AdaIN network."""


class Case(NamedTuple):
    """A pure program and what it is called with.

    Attributes:
      function: a step `(state, batch, constants) -> (state, metrics)`, whose state is donated, or an
        inference `(params, batch, constants) -> picture`.
      state, constants: make pytrees of arrays. batch: one, on the host.
      donated: whether `function` is a step.
    """

    function: Callable[..., Any]
    state: Callable[[], Any]
    batch: Any
    constants: Callable[[], Any]
    donated: bool

    def compiled(self) -> Any:
        """The program, from shapes alone."""
        shapes = (jax.eval_shape(self.state), self.batch, jax.eval_shape(self.constants))
        return jax.jit(self.function, donate_argnums=0 if self.donated else ()).lower(*shapes).compile()

    def arguments(self) -> tuple[Any, Any, Any]:
        """State, batch and constants on the device."""
        return jax.jit(self.state)(), jax.device_put(self.batch), jax.jit(self.constants)()


def lite_case(kind: str, batch: int, dtype: str, size: int = 256, preset: str = "lite") -> Case:
    """`infer`, `step` (no discriminator) or `gan step` of the `lite` or `default` refiner, for a clip of 300
    frames."""
    settings = LiteRefinerSettings(
        size=size,
        n_features=N_FEATURES,
        n_values=N_VALUES,
        n_slots=360,
        steps=900,
        dtype=dtype,
        **SIZES[preset],
    )
    task = LiteRefinerTask(settings)
    rng = np.random.default_rng(0)
    region = rng.integers(-1, 3, (batch, size, size)).astype(np.int8)
    features = rng.normal(size=(batch, N_FEATURES)).astype(np.float32)
    pictures = [_pictures(rng, batch, size, c) for c in (9, 3, 3)]
    inputs = RefinerInputs(*pictures, region, features)
    if kind == "infer":

        def infer(state: Any, inputs: RefinerInputs, constants: Any) -> Any:
            del constants
            params, query, bank = state
            code = task.read_code(bank, query, inputs.features)
            return jnp.clip((task.refine(params, code, inputs) + 1) / 2, 0, 1)

        def used() -> Any:
            state = task.init()
            return state.average, state.query, state.bank

        return Case(infer, used, inputs, tuple, donated=False)
    values = rng.normal(size=(batch, N_VALUES)).astype(np.float32)
    weight = _pictures(rng, batch, size, 1)[..., 0]
    target = _pictures(rng, batch, size, 3)
    rows = RefinerBatch(inputs, target, weight, values, np.arange(batch, dtype=np.int32))
    step = task.adversarial_step if kind == "gan step" else task.train_step
    return Case(lambda state, rows, _: step(state, rows), task.init, rows, tuple, donated=True)


def paper_case(kind: str, batch: int, dtype: str, size: int = 256, *, slim: bool = False) -> Case:
    """`forward` (generator), `backward` (its L1 loss with all gradients), `infer` (memory read and generator)
    or `gan step` (everything of one update) of the `paper` refiner."""
    settings = PaperRefinerSettings(size=size, adain_hidden=SLIM_HIDDEN if slim else 0, dtype=dtype)
    task = PaperRefinerTask(settings)
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(batch, settings.n_values)).astype(np.float32)
    identity /= np.linalg.norm(identity, axis=-1, keepdims=True)
    window, target = (_pictures(rng, batch, size, c) for c in (9, 3))
    rows = PaperBatch(window, target, identity, np.arange(batch, dtype=np.int32))
    if kind == "gan step":
        return Case(task.train_step, task.init, rows, task.random_trunk, donated=True)
    if kind == "infer":

        def infer(state: Any, rows: PaperBatch, trunk: Any) -> Any:
            params, query, bank = state
            code = task.read(trunk, query, bank, rows.window[..., 6:])
            return task.refine(params, code, rows.window)

        def used() -> Any:
            state = task.init()
            return state.params, state.query, state.bank

        return Case(infer, used, rows, task.random_trunk, donated=False)

    def forward(params: Any, rows: PaperBatch, _: Any) -> Any:
        return task.refine(params, rows.identity, rows.window)

    def loss(params: Any, rows: PaperBatch, _: Any) -> Any:
        return jnp.mean(jnp.abs(forward(params, rows, _) - (rows.target / 127.5 - 1)))

    function = forward if kind == "forward" else jax.grad(loss)
    return Case(function, lambda: task.init().params, rows, tuple, donated=False)


def _pictures(rng: np.random.Generator, batch: int, size: int, channels: int) -> np.ndarray:
    return rng.integers(0, 256, (batch, size, size, channels)).astype(np.uint8)
