"""What is trained, and its step as one compiled program on a mesh: pure, and from shapes alone.

job = Job(name="mapping", init=task.init, phases=[Phase(0, task.train_step)], input_for=...)
layout = make_layout(job, mesh, batch_spec)
program = compile_step(job.phases[0].step, layout, job.constants)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.train import sharding
from talkjax.train.feed import TrainInput
from talkjax.train.flops import count_flops

StepFn = Callable[..., tuple[Any, Mapping[str, Any]]]


class Phase(NamedTuple):
    """From step `first` on, `step` is what trains: pure `(state, batch, *constants) -> (state, metrics)`."""

    first: int
    step: StepFn


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained: everything that a task must say for itself.

    Attributes:
      name: of the task, for people.
      init: -> fresh state; traced, so it must be pure.
      phases: step functions by first step; the first begins at 0.
      input_for: rows of this process -> its input.
      corpus: digest of what is learned from; a run goes on only with the same.
      constants: pytrees given to every step, whole on every device.
      panels: `(state, batch, *constants) -> {name: image [h w 3] in [0, 1]}`, pure; None: no pictures.
      evaluate: `(host state, step) -> figures`, on process 0; None: none.
      finish: `(host state, folder)`, on process 0 after the last step.
    """

    name: str
    init: Callable[[], Any]
    phases: Sequence[Phase]
    input_for: Callable[[sharding.Rows], TrainInput]
    corpus: str = ""
    constants: tuple[Any, ...] = ()
    panels: Callable[..., Mapping[str, Any]] | None = None
    evaluate: Callable[[Any, int], Mapping[str, float]] | None = None
    finish: Callable[[Any, Path], None] | None = None


class RunState(NamedTuple):
    """The task's state, and how many steps in a row, and in all, were skipped for numbers that are not
    finite."""

    task: Any
    bad: jax.Array
    skipped: jax.Array


def initial(job: Job) -> RunState:
    """Fresh state of a run; traced."""
    return RunState(job.init(), jnp.int32(0), jnp.int32(0))


def run_step(step: StepFn, accumulate: int = 1) -> StepFn:
    """`step` on a `RunState`, over `accumulate` parts of the batch, without effect when a number is not
    finite.

    The parts are strided, row i * accumulate + k in part k, so that every device keeps its own rows. The
    task's optimizers average the gradients (`optax.MultiSteps`). `optax.apply_if_finite` would give in after
    its limit; this does not.
    """

    def whole(run: RunState, batch: Any, *constants: Any) -> tuple[RunState, Mapping[str, Any]]:
        task, collected = run.task, []
        for k in range(accumulate):
            part = (
                batch if accumulate == 1 else jax.tree.map(lambda x, k=k: _strided(x, accumulate, k), batch)
            )
            task, metrics = step(task, part, *constants)
            collected.append(metrics)
        metrics = jax.tree.map(lambda *values: sum(values) / accumulate, *collected)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(m)) for m in jax.tree.leaves(metrics)]))
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), task, run.task)
        bad = jnp.where(finite, 0, run.bad + 1)
        return RunState(kept, bad, run.skipped + ~finite), {**metrics, "bad_steps": bad}

    return whole


def _strided(batch: Any, n: int, k: int) -> Any:
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // n, n, *x.shape[1:])[:, k], batch)


class Program(NamedTuple):
    """A compiled step `call(state, batch, *constants)`, and its operations on all devices together."""

    call: Any
    flops: float


class Layout(NamedTuple):
    """Shapes and places of everything the step touches."""

    mesh: jax.sharding.Mesh
    state: Any
    state_shardings: Any
    batch: Any
    batch_shardings: Any

    @property
    def placed(self) -> Any:
        """The state's shapes with their shardings."""
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            self.state,
            self.state_shardings,
        )


def make_layout(job: Job, mesh: jax.sharding.Mesh, batch_spec: Any) -> Layout:
    """Shapes before memory: nothing is allocated."""
    state = jax.eval_shape(lambda: initial(job))
    return Layout(
        mesh,
        state,
        sharding.state_shardings(mesh, state),
        batch_spec,
        sharding.batch_shardings(mesh, batch_spec),
    )


def compile_step(step: StepFn, layout: Layout, constants: tuple[Any, ...], accumulate: int = 1) -> Program:
    """Compiles a step for a mesh, from shapes alone."""
    whole = sharding.replicated(layout.mesh)
    constant_places = jax.tree.map(lambda _: whole, constants)
    jitted = jax.jit(
        run_step(step, accumulate),
        in_shardings=(layout.state_shardings, layout.batch_shardings, *constant_places),
        out_shardings=(layout.state_shardings, whole),
        donate_argnums=0,
    )
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), constants)
    with jax.set_mesh(layout.mesh):
        compiled = jitted.lower(layout.state, layout.batch, *shapes).compile()
        return Program(compiled, count_flops(jitted, layout.state, layout.batch, *shapes))
