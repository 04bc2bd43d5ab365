"""The pretraining loop: one job over a device mesh and any number of hosts, resumable at every step.

    job = Job(name="mapping", init=task.init, phases=[Phase(0, task.train_step)], input_for=...)
    pretrain(job, config, workdir / run_id)

The step is compiled ahead of time from shapes alone, with the state donated; nothing can be traced a second
time. Metrics stay on the device between log lines, so the host never waits for a step but at those.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import queue
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from talkjax import __version__
from talkjax.config import PretrainConfig, config_hash
from talkjax.errors import DivergedError, ResumableStop
from talkjax.train import sharding
from talkjax.train.chips import mfu, peak_flops
from talkjax.train.flops import count_flops
from talkjax.train.folder import probe_folder, require_space
from talkjax.train.metrics import MetricsWriter
from talkjax.train.run_checkpoint import RunCheckpoints
from talkjax.train.runtime import (
    RunLock,
    StopRequests,
    Watchdog,
    barrier,
    is_first,
    on_every_process,
    require_agreement,
)

FIRST_STEP_PATIENCE = 10.0
"""The watchdog waits so many times longer while compiling, saving the last time and evaluating."""
PREFETCHED = 2
_log = logging.getLogger("talkjax")

StepFn = Callable[..., tuple[Any, Mapping[str, Any]]]


class TrainInput(Protocol):
    """Batches as a pure function of the step (talkjax/data/train_input.py)."""

    @property
    def spec(self) -> Any: ...

    def batches(self, first_step: int) -> Iterator[Any]: ...


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


def pretrain(job: Job, config: PretrainConfig, folder: Path, command: Sequence[str] = ()) -> None:
    """Trains to the last step, or goes on from the newest checkpoint.

    Args:
      folder: of this run, shared by all hosts.
      command: what the user typed, for `run.json`.

    Raises:
      InputError: the folder, mesh, batch or checkpoint does not fit. DivergedError: numbers stayed non-finite
        after a rollback. ResumableStop: a signal; everything is saved.
    """
    probe_folder(folder)
    mesh = sharding.make_mesh(sharding.MeshShape(config.mesh_data, config.mesh_fsdp, config.mesh_model))
    require_agreement(
        {
            "configuration": config_hash(config),
            "version of talkjax": __version__,
            "corpus": job.corpus,
            "run folder": str(folder),
        }
    )
    lock = RunLock(folder)
    writer = MetricsWriter(folder, active=is_first())
    try:
        _Run(job, config, folder, mesh, writer, command).go()
    finally:
        writer.close()
        del lock


class _Run:
    """One call of `pretrain`."""

    def __init__(
        self,
        job: Job,
        config: PretrainConfig,
        folder: Path,
        mesh: jax.sharding.Mesh,
        writer: MetricsWriter,
        command: Sequence[str],
    ):
        self.job, self.config, self.folder, self.mesh, self.writer = job, config, folder, mesh, writer
        self.rows = sharding.rows_of_process(mesh, config.batch, accumulate=config.accumulate)
        self.input = job.input_for(self.rows)
        self.layout = make_layout(job, mesh, self.input.spec)
        identity = {**config.identity(), "task": job.name, "corpus": job.corpus}
        self.checkpoints = RunCheckpoints(folder / "checkpoints", identity, keep=config.keep)
        self.watchdog = Watchdog(config.watchdog_seconds)
        constant_place = sharding.replicated(mesh)
        self.constants = jax.tree.map(lambda x: jax.device_put(x, constant_place), job.constants)
        self.programs: dict[int, Program] = {}
        self.offset = 0  # batches passed over by rollbacks
        self.rolled_back_to = -1
        self.command = command

    def go(self) -> None:
        self.watchdog.feed(FIRST_STEP_PATIENCE)
        state, step = self._begin()
        try:
            with StopRequests() as stop:
                state = self._train(state, step, stop)
            self.checkpoints.wait()
            self._finish(state)
        finally:
            self.watchdog.stop()

    # ------------------------------------------------------------------------------------------------ start

    def _begin(self) -> tuple[RunState, int]:
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.layout.state))
        found = self.checkpoints.restore(self.layout.placed)
        if found is None:
            require_space(self.folder, size)
            with jax.set_mesh(self.mesh):
                init = jax.jit(lambda: initial(self.job), out_shardings=self.layout.state_shardings)
                state = init()
            self._describe_run()
            self.writer.event("start", 0, state_bytes=size)
            self._save(state, 0)  # a folder that cannot hold a checkpoint shows now
            return state, 0
        for text in found.damaged:
            self.writer.event("fallback", found.step, damaged=text)
        self.offset = found.facts["data_offset"]
        self.rolled_back_to = found.facts["rolled_back_to"]
        before, now = found.facts["topology"], self._topology()
        if before != now:
            _log.info("topology %s -> %s", before, now)
        self._describe_run()
        self.writer.event("resume", found.step, topology=now, topology_before=before)
        _log.info("going on from step %d", found.step)
        return found.state, found.step

    def _topology(self) -> str:
        sizes = " x ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        return f"{jax.process_count()} processes, {sizes}"

    def _describe_run(self) -> None:
        if not is_first():
            return
        params = sum(leaf.size for leaf in jax.tree.leaves(getattr(self.layout.state.task, "params", ())))
        facts = {
            "config": json.loads(self.config.to_json()),
            "config_class": type(self.config).__name__,
            "config_hash": config_hash(self.config),
            "task": self.job.name,
            "corpus": self.job.corpus,
            "command": list(self.command),
            "git": _git_revision(),
            "talkjax": __version__,
            "jax": jax.__version__,
            "platform": jax.default_backend(),
            "device_kind": jax.devices()[0].device_kind,
            "devices": jax.device_count(),
            "hosts": jax.process_count(),
            "mesh": dict(self.mesh.shape),
            "created": time.time(),
            "n_params": int(params),
            "steps": self.config.steps,
        }
        part = self.folder / "run.json.part"
        part.write_text(json.dumps(facts, indent=1))
        part.replace(self.folder / "run.json")
        lines = sharding.describe(self.layout.state_shardings, self.layout.state)
        (self.folder / "shardings.txt").write_text("\n".join(lines) + "\n")

    def _program(self, step: int) -> Program:
        index = max(k for k, phase in enumerate(self.job.phases) if phase.first <= step)
        if index not in self.programs:
            self.watchdog.feed(FIRST_STEP_PATIENCE)
            begin = time.monotonic()
            chosen = self.job.phases[index].step
            self.programs[index] = compile_step(chosen, self.layout, self.constants, self.config.accumulate)
            _log.info("step compiled in %.1f s", time.monotonic() - begin)
        return self.programs[index]

    # ------------------------------------------------------------------------------------------------- loop

    def _train(self, state: RunState, step: int, stop: StopRequests) -> RunState:
        config, n_steps = self.config, self.config.steps
        feed = _Feed(self.input, step + self.offset, self.layout.batch_shardings, self.rows)
        pending: list[tuple[int, Any]] = []
        clock = _Clock()
        try:
            while step < n_steps:
                clock.pause()
                program = self._program(step)
                clock.resume()
                batch = feed.next()
                with jax.set_mesh(self.mesh):
                    state, metrics = program.call(state, batch, *self.constants)
                step += 1
                pending.append((step, metrics))
                due = step % config.save_every == 0 or step == n_steps
                stopping = stop.at(step)
                if step % config.log_every == 0 or due or stopping:
                    worst = self._log_steps(pending, clock, feed, program)
                    if worst >= config.max_bad_steps:
                        feed.close()
                        state, step = self._roll_back(step)
                        feed = _Feed(self.input, step + self.offset, self.layout.batch_shardings, self.rows)
                        continue
                    self.watchdog.feed()
                self.checkpoints.check()
                if due or stopping:
                    clock.pause()
                    self._save(state, step)
                    self._look(state, step, batch)
                    clock.resume()
                if stopping and step < n_steps:
                    self._stop(step, stop.exit_code)
        finally:
            feed.close()
        return state

    def _log_steps(
        self, pending: list[tuple[int, Any]], clock: _Clock, feed: _Feed, program: Program
    ) -> float:
        """Writes what happened since the last line; returns the longest row of bad steps."""
        rows = [(step, jax.device_get(metrics)) for step, metrics in pending]
        pending.clear()
        worst = max(float(row["bad_steps"]) for _, row in rows)
        for step, row in rows:
            if row["bad_steps"] > 0:
                odd = {name: repr(float(v)) for name, v in row.items() if not np.isfinite(v)}
                self.writer.event("skip", step, batch=step - 1 + self.offset, **odd)
        seconds, waited = clock.lap(), feed.waited()
        per_step = seconds / len(rows)
        peak = peak_flops(jax.devices()[0].device_kind)
        last, row = rows[-1]
        good = [row for _, row in rows if row["bad_steps"] == 0]
        means = {k: float(np.mean([r[k] for r in good])) if good else None for k in row if k != "bad_steps"}
        stats = jax.local_devices()[0].memory_stats() or {}
        self.writer.scalars(
            last,
            {
                **means,
                "bad_steps": float(row["bad_steps"]),
                "step_seconds": per_step,
                "examples_per_second": self.config.batch / per_step,
                "mfu": mfu(program.flops, per_step, jax.device_count(), peak),
                "input_wait_share": min(waited / seconds, 1.0) if seconds > 0 else 0.0,
                "memory_bytes": stats.get("peak_bytes_in_use"),
                "host_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
            },
        )
        if is_first():
            text = " ".join(f"{name} {value:.4g}" for name, value in means.items() if value is not None)
            _log.info("step %d: %s (%.3f s a step)", last, text, per_step)
        return worst

    def _roll_back(self, step: int) -> tuple[RunState, int]:
        """Back to the last checkpoint, past the data that led here; a second time at once is the end."""
        self.checkpoints.wait()
        newest = self.checkpoints.steps()[-1]
        what = f"{self.config.max_bad_steps} steps in a row up to step {step} without finite numbers"
        barrier(f"roll back {step}")
        if newest <= self.rolled_back_to:
            self.writer.event("error", step, code="diverged")
            raise on_every_process(
                DivergedError(
                    f"training diverged: {what}, also after going back to step {newest}; "
                    "fix: lower the learning rate (with another --run_id)"
                )
            )
        found = self.checkpoints.restore(self.layout.placed)
        assert found is not None
        self.offset += step - found.step
        self.rolled_back_to = found.step
        first = found.step + self.offset - (step - found.step)
        passed_over = [first, first + step - found.step]
        self.writer.event("rollback", step, to=found.step, batches_passed_over=passed_over)
        _log.warning("%s: back to step %d, other data", what, found.step)
        return found.state, found.step

    def _save(self, state: RunState, step: int) -> None:
        self.watchdog.feed(FIRST_STEP_PATIENCE)
        begin = time.monotonic()
        facts = {
            "data_offset": self.offset,
            "rolled_back_to": self.rolled_back_to,
            "topology": self._topology(),
        }
        self.checkpoints.save(step, state, facts)
        self.writer.event("save", step, blocking_seconds=round(time.monotonic() - begin, 3))
        self.watchdog.feed()

    def _look(self, state: RunState, step: int, batch: Any) -> None:
        if step % self.config.eval_every and step != self.config.steps:
            return
        self.watchdog.feed(FIRST_STEP_PATIENCE)
        if self.job.panels is not None:
            whole = sharding.replicated(self.mesh)
            with jax.set_mesh(self.mesh):
                images = jax.jit(self.job.panels, out_shardings=whole)(state.task, batch, *self.constants)
            for name, image in jax.device_get(dict(images)).items():
                self.writer.image(step, name, np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8))
        if self.job.evaluate is not None and step < self.config.steps:  # the end looks at everything anyway
            host = self._on_host(state)
            if is_first():
                figures = self.job.evaluate(host, step)
                self.writer.event("evaluate", step, **figures)
                _log.info("step %d: %s", step, json.dumps(figures))
            barrier(f"evaluated {step}")
        self.watchdog.feed()

    def _stop(self, step: int, exit_code: int) -> None:
        self.checkpoints.wait()
        barrier(f"stop {step}")
        self.writer.event("stop", step)
        error = ResumableStop(
            f"stopped at step {step} of {self.config.steps}, saved: run the same command again"
        )
        error.exit_code = exit_code
        raise on_every_process(error)

    def _finish(self, state: RunState) -> None:
        self.watchdog.feed(FIRST_STEP_PATIENCE)
        host = self._on_host(state)
        if self.job.finish is not None and is_first():
            self.job.finish(host, self.folder)
        self.writer.event("done", self.config.steps)
        barrier("done")

    def _on_host(self, state: RunState) -> Any:
        """The task's state as numpy, on every process."""
        whole = sharding.replicated(self.mesh)
        with jax.set_mesh(self.mesh):
            gathered = jax.jit(lambda x: x, out_shardings=whole)(state.task)
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), gathered)


class _Clock:
    """Seconds of training, without those of saving and looking."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._paused = 0.0

    def pause(self) -> None:
        self._paused = time.monotonic()

    def resume(self) -> None:
        self._since += time.monotonic() - self._paused

    def lap(self) -> float:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return seconds


class _Feed:
    """Batches on the devices, made ahead by a thread."""

    def __init__(self, source: TrainInput, first: int, shardings: Any, rows: sharding.Rows):
        self._queue: queue.Queue[Any] = queue.Queue(PREFETCHED)
        self._closed = threading.Event()
        self._waited = 0.0
        self._thread = threading.Thread(target=self._fill, args=(source, first, shardings, rows), daemon=True)
        self._thread.start()

    def _fill(self, source: TrainInput, first: int, shardings: Any, rows: sharding.Rows) -> None:
        try:
            for batch in itertools.chain(source.batches(first), (EOFError("the input ended"),)):
                if isinstance(batch, BaseException):
                    raise batch
                self._put(sharding.to_global(batch, shardings, rows))
                if self._closed.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def next(self) -> Any:
        """The next batch; raises what the input raised."""
        begin = time.monotonic()
        item = self._queue.get()
        self._waited += time.monotonic() - begin
        if isinstance(item, BaseException):
            raise item
        return item

    def waited(self) -> float:
        """Seconds that training waited for input since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=10)


def _git_revision() -> str | None:
    try:
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
