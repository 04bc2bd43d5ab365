"""The pretraining loop: one job over a device mesh and any number of hosts, resumable at every step.

    job = Job(name="mapping", init=task.init, phases=[Phase(0, task.train_step)], input_for=...)
    pretrain(job, config, workdir / run_id)

The step is compiled ahead of time from shapes alone, with the state donated; nothing can be traced a second
time. Metrics stay on the device between log lines, so the host never waits for a step but at those.
"""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from talkjax import __version__
from talkjax.config import PretrainConfig, config_hash
from talkjax.errors import DivergedError, ResumableStop
from talkjax.train import sharding
from talkjax.train.chips import mfu, peak_flops
from talkjax.train.feed import Feed
from talkjax.train.folder import probe_folder, require_space
from talkjax.train.job import Job, Program, RunState, compile_step, initial, make_layout
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
_log = logging.getLogger("talkjax")


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
        self.fresh = True  # no result of the present program has been seen yet
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
            self.fresh = True
            begin = time.monotonic()
            chosen = self.job.phases[index].step
            self.programs[index] = compile_step(chosen, self.layout, self.constants, self.config.accumulate)
            _log.info("step compiled in %.1f s", time.monotonic() - begin)
        return self.programs[index]

    # ------------------------------------------------------------------------------------------------- loop

    def _train(self, state: RunState, step: int, stop: StopRequests) -> RunState:
        config, n_steps = self.config, self.config.steps
        feed = Feed(self.input, step + self.offset, self.layout.batch_shardings, self.rows)
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
                if not self.fresh:  # its first step also waits for hosts that are still compiling
                    self.watchdog.feed()  # a hang blocks at the next log line at the latest
                step += 1
                pending.append((step, metrics))
                due = step % config.save_every == 0 or step == n_steps
                stopping = stop.at(step)
                if step % config.log_every == 0 or due or stopping:
                    worst, streak = self._log_steps(pending, clock, feed, program)
                    self.fresh = False
                    if worst >= config.max_bad_steps:
                        feed.close()
                        state, step = self._roll_back(step)
                        feed = Feed(self.input, step + self.offset, self.layout.batch_shardings, self.rows)
                        continue
                    self.watchdog.feed()
                    # a checkpoint inside a row of bad steps would be gone back to, again and again
                    due = due and (streak == 0 or step == n_steps)
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
    ) -> tuple[float, float]:
        """Writes what happened since the last line; (longest row of bad steps, the present one)."""
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
        names = [name for name in row if name != "bad_steps"]
        found = {name: [r[name] for r in good if name in r] for name in names}  # a new phase may measure more
        means = {name: float(np.mean(values)) if values else None for name, values in found.items()}
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
        return worst, float(row["bad_steps"])

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


def _git_revision() -> str | None:
    try:
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
