"""The training loop: a donated jitted step on CPU, a scan over chunks of steps on accelerators.

Both give the same losses; the scan only saves the host's work between steps. Convolution gradients inside a
rolled scan are very slow on CPU (networks.md §7), hence the plain loop there.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE, DivergedError, ResumableStop

ACCELERATOR_CHUNK = 50
"""Steps per scan on accelerators, where a step takes a few milliseconds."""
MAX_BAD_STEPS = 5
"""Steps with non-finite metrics in a row that end a run."""

StepFn = Callable[..., tuple[Any, Mapping[str, Any]]]
Metrics = dict[str, float]


def run_steps(
    step_fn: StepFn,
    state: Any,
    batch_fn: Callable[[int], Any],
    n_steps: int,
    *,
    data: Any = None,
    start: int = 0,
    on_step: Callable[[int, Metrics], None] | None = None,
    save_every: int = 0,
    save_fn: Callable[[Any, int], Any] | None = None,
    stop_requested: Callable[[], bool] | None = None,
    chunk: int | None = None,
    max_bad_steps: int = MAX_BAD_STEPS,
) -> Any:
    """Runs steps `start` to `n_steps - 1` and returns the state after them.

    A step whose metrics are not all finite leaves the whole state as it was (put the gradient norm among the
    metrics: a finite loss can have an infinite gradient). `optax.apply_if_finite` gives in after its limit;
    this does not.

    Args:
      step_fn: pure `(state, batch) -> (state, metrics)`, or `(state, batch, data) -> ...` when `data` is
        given; metrics are scalars, the loss among them.
      state: pytree; copied once, so the caller's arrays survive donation.
      batch_fn: step -> batch, a pytree of arrays of the same shapes every time; a pure function of the step,
        so that a resumed run sees the same batches.
      n_steps: the total, counted from step 0.
      data: pytree kept on the device and passed to every step, for instance the whole clip as uint8.
      start: first step to run; the number of steps that `state` has behind it.
      on_step: called after each step in order with its number and metrics.
      save_every: steps between calls of `save_fn`; 0 saves only when stopped (the end is the caller's).
      save_fn: `(state, finished_steps)`; it must not keep `state`, whose buffers the next step reuses.
      stop_requested: asked after every chunk; when true, saves and raises.
      chunk: steps per compiled call; None for 1 on CPU and `ACCELERATOR_CHUNK` elsewhere.
      max_bad_steps: see `DivergedError`.

    Raises:
      DivergedError: after `max_bad_steps` steps in a row with non-finite metrics.
      ResumableStop: after a requested stop; the state was given to `save_fn` first, if there is one.
    """
    if chunk is None:
        chunk = 1 if jax.default_backend() == "cpu" else ACCELERATOR_CHUNK
    run_chunk = _compiled(step_fn, scanned=chunk > 1)
    state = jax.tree.map(_copy, state)
    constants = () if data is None else (jax.tree.map(jnp.asarray, data),)
    bad_steps, step = 0, start
    while step < n_steps:
        size = min(chunk, n_steps - step)
        if save_every > 0:
            size = min(size, save_every - step % save_every)
        batch = batch_fn(step) if chunk == 1 else _stack([batch_fn(step + i) for i in range(size)])
        state, metrics = run_chunk(state, batch, *constants)
        for row in _rows(metrics, chunk > 1):
            bad_steps = 0 if all(np.isfinite(v) for v in row.values()) else bad_steps + 1
            if on_step is not None:
                on_step(step, row)
            step += 1
            if bad_steps >= max_bad_steps:
                raise DivergedError(
                    f"training diverged: {bad_steps} steps in a row without finite numbers, up to step "
                    f"{step - 1} ({', '.join(f'{k} {v:g}' for k, v in row.items())}); "
                    "fix: lower the learning rate"
                )
        stop = stop_requested is not None and stop_requested()
        due = save_every > 0 and step % save_every == 0
        if save_fn is not None and (stop or due):
            save_fn(state, step)
        if stop and step < n_steps:
            saved = "saved" if save_fn is not None else "not saved"
            error = ResumableStop(f"stopped at step {step} of {n_steps}, {saved}: run the same command again")
            error.exit_code = getattr(stop_requested, "exit_code", error.exit_code)
            raise error
    return state


@functools.lru_cache(maxsize=8)  # a step that runs again, from another state, is not compiled again
def _compiled(step_fn: StepFn, scanned: bool) -> Callable[..., tuple[Any, Mapping[str, Any]]]:
    """The guarded step, or a scan over it, jitted with the state donated."""

    def guarded(state: Any, batch: Any, *constants: Any) -> tuple[Any, Mapping[str, Any]]:
        new_state, metrics = step_fn(state, batch, *constants)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(m)) for m in jax.tree.leaves(metrics)]))
        return jax.tree.map(lambda new, old: _choose(finite, new, old), new_state, state), metrics

    if not scanned:
        return jax.jit(guarded, donate_argnums=0)

    def many(state: Any, batches: Any, *constants: Any) -> tuple[Any, Mapping[str, Any]]:
        return jax.lax.scan(lambda carry, batch: guarded(carry, batch, *constants), state, batches)

    return jax.jit(many, donate_argnums=0)


def _choose(take_new: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(take_new, new, old)


def _copy(leaf: Any) -> jax.Array:
    return leaf.copy() if isinstance(leaf, jax.Array) else jnp.array(np.asarray(leaf))


def _stack(batches: list[Any]) -> Any:
    """Batches of one shape -> one pytree with a leading step axis; typed keys and arrays alike."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if isinstance(leaves[0], jax.Array) else np.stack(leaves), *batches
    )


def _rows(metrics: Mapping[str, Any], stacked: bool) -> list[Metrics]:
    host = jax.device_get(dict(metrics))
    if not stacked:
        return [{name: float(value) for name, value in host.items()}]
    n = len(next(iter(host.values())))
    return [{name: float(values[i]) for name, values in host.items()} for i in range(n)]


class StopSignals:
    """Turns the first SIGTERM or SIGINT into a flag for `run_steps`; the second one acts as usual.

    with StopSignals() as stop:
        run_steps(..., stop_requested=stop)

    Outside the main thread, where Python allows no handlers, it stays false.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self.exit_code = EXIT_RESUMABLE
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self._requested.is_set()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        # a person at the keyboard and a scheduler ask for the same thing, but are told it differently
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_RESUMABLE
        self._requested.set()
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
