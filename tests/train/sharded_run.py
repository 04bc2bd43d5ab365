"""Run as a script with 8 simulated devices: every task on one device and on every layout, as JSON on stdout.

Batches are random pictures and sounds of small size: what is compared is arithmetic, not learning.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

import talkjax  # noqa: F401  (before JAX)

# isort: split
import jax
import numpy as np

from talkjax.nets.reconstruction_net import CoeffSizes
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from talkjax.tasks.mapping_general import GeneralBatch, GeneralMappingTask, GeneralScales
from talkjax.tasks.reconstruction import ReconstructionBatch, ReconstructionTask
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerBatch, RefinerInputs
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask
from talkjax.train import sharding
from talkjax.train.job import Job, Phase, compile_step, initial, make_layout
from tests.tasks.made_up_face import N_EXP as N_EXP_MADE_UP
from tests.tasks.made_up_face import N_ID, N_TEX, made_up_batch, made_up_measures

BATCH, SIZE, N_EXP, N_VALUES, N_FEATURES = 8, 128, 43, 16, 12
LAYOUTS = {"data": (8, 1, 1), "fsdp": (2, 4, 1), "model": (2, 2, 2)}
COMPARED = {
    "mapping": ("data", "fsdp", "model"),
    "lite": ("data", "fsdp"),
    "paper": ("data", "model"),
    "reconstruction": ("data",),
}


def mapping_job(accumulate: int = 1, dtype: str = "float32") -> tuple[Job, Any]:
    scales = GeneralScales(
        np.zeros(7 + N_EXP, np.float32),
        np.ones(7 + N_EXP, np.float32),
        np.ones(N_EXP, np.float32),
        np.float32(1),
    )
    task = GeneralMappingTask(scales, 46, 100, accumulate=accumulate, dtype=dtype)

    def batch(step: int) -> GeneralBatch:
        rng, t = np.random.default_rng(step), 32
        sound = rng.normal(0, 3, (BATCH, 4 * t, 40)).astype(np.float32)
        face = np.repeat(sound.reshape(BATCH, t, 4, 40).mean(2), 2, -1)
        valid = rng.random((BATCH, t)) < 0.9
        return GeneralBatch(
            sound, np.zeros_like(sound), face[..., :7], face[..., 7:50],
            (face[..., 0] > 0).astype(np.float32), (face[..., 1] > 0).astype(np.float32),
            (face[..., 2] > 0).astype(np.int32), valid,
        )  # fmt: skip

    return Job("mapping", task.init, [Phase(0, task.train_step)], lambda rows: None), batch  # type: ignore[arg-type, return-value]


def _picture(rng: np.random.Generator, channels: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (BATCH, 8, 8, channels), dtype=np.uint8)
    return coarse.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2)


def lite_job(accumulate: int = 1, dtype: str = "float32") -> tuple[Job, Any]:
    settings = LiteRefinerSettings(
        size=SIZE,
        n_features=N_FEATURES,
        n_values=N_VALUES,
        n_slots=1024,
        steps=100,
        width=16,
        accumulate=accumulate,
        dtype=dtype,
    )
    task = LiteRefinerTask(settings)

    def batch(step: int) -> RefinerBatch:
        rng = np.random.default_rng(step)
        region = rng.integers(-1, 4, (BATCH, 8, 8)).repeat(SIZE // 8, 1).repeat(SIZE // 8, 2).astype(np.int8)
        features = rng.normal(size=(BATCH, N_FEATURES)).astype(np.float32)
        inputs = RefinerInputs(_picture(rng, 9), _picture(rng, 3), _picture(rng, 3), region, features)
        values = rng.normal(size=(3, N_VALUES)).astype(np.float32)[rng.integers(0, 3, BATCH)]
        weight = rng.integers(0, 256, (BATCH, SIZE, SIZE), dtype=np.uint8)
        return RefinerBatch(
            inputs, _picture(rng, 3), weight, values, rng.integers(0, 99, BATCH).astype(np.int32)
        )

    return Job("lite", task.init, [Phase(0, task.adversarial_step)], lambda rows: None), batch  # type: ignore[arg-type, return-value]


def paper_job(accumulate: int = 1, dtype: str = "float32") -> tuple[Job, Any]:
    settings = PaperRefinerSettings(
        size=SIZE, width=8, adain_hidden=32, discriminator_width=8, trunk_width=16, n_slots=1024, n_keys=32,
        n_values=N_VALUES, accumulate=accumulate, dtype=dtype,
    )  # fmt: skip
    task = PaperRefinerTask(settings)

    def batch(step: int) -> PaperBatch:
        rng = np.random.default_rng(step)
        identity = np.random.default_rng(0).normal(size=(5, N_VALUES))[rng.integers(0, 5, BATCH)]
        identity = (identity / np.linalg.norm(identity, axis=-1, keepdims=True)).astype(np.float32)
        return PaperBatch(_picture(rng, 9), _picture(rng, 3), identity, np.arange(BATCH, dtype=np.int32))

    job = Job(
        "paper",
        task.init,
        [Phase(0, task.train_step)],
        lambda rows: None,
        constants=(task.random_trunk(),),  # type: ignore[arg-type, return-value]
    )
    return job, batch


def reconstruction_job(accumulate: int = 1, dtype: str = "float32") -> tuple[Job, Any]:
    """Drawn faces and the rasterizer: a made-up face of 49 vertices."""
    del dtype
    net = SmallReconstructionNet(CoeffSizes(N_ID, N_EXP_MADE_UP, N_TEX), width=4)
    task = ReconstructionTask(net, 32, 100, 1e-3, photometric=1.0, accumulate=accumulate)

    def batch(step: int) -> ReconstructionBatch:
        return made_up_batch(BATCH, 36, step)

    step = [Phase(0, task.train_step)]
    job = Job("reconstruction", task.init, step, lambda rows: None, constants=(made_up_measures(),))  # type: ignore[arg-type, return-value]
    return job, batch


JOBS = {"mapping": mapping_job, "lite": lite_job, "paper": paper_job, "reconstruction": reconstruction_job}


def run(name: str, layout: tuple[int, int, int], steps: int, accumulate: int = 1) -> dict[str, Any]:
    """Losses, gradients (first moments of the optimizers after step 1), written slots, shardings."""
    job, batch_at = JOBS[name](accumulate)
    n = int(np.prod(layout))
    mesh = sharding.make_mesh(sharding.MeshShape(*layout), jax.devices()[:n])
    example = batch_at(0)
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), example)
    places = make_layout(job, mesh, spec)
    constants = jax.tree.map(lambda x: jax.device_put(x, sharding.replicated(mesh)), job.constants)
    traced = []

    def counted(*args: Any) -> Any:
        traced.append(1)
        return job.phases[0].step(*args)

    program = compile_step(counted, places, constants, accumulate)
    with jax.set_mesh(mesh):
        state = jax.device_put(
            jax.tree.map(np.copy, fresh_state(name, accumulate)),  # donated: must not be the cached one
            places.state_shardings,
        )
        rows = sharding.rows_of_process(mesh, BATCH, accumulate=accumulate)
        losses, first, slots = [], {}, []
        for step in range(steps):
            on_device = sharding.to_global(batch_at(step), places.batch_shardings, rows)
            state, metrics = program.call(state, on_device, *constants)
            losses.append({k: float(v) for k, v in metrics.items()})
            if step == 0:
                first = moments(state.task)
            if hasattr(state.task, "bank"):
                slots.append(np.flatnonzero(np.asarray(state.task.bank.age) == 0).tolist())
    return {
        "losses": losses,
        "gradients": first,
        "slots": slots,
        "shardings": sharding.describe(places.state_shardings, places.state),
        "cut": cut_share(state),
        "traced": len(traced) / accumulate,
    }


@functools.cache
def fresh_state(name: str, accumulate: int) -> Any:
    """The initial state on the host: drawing it takes as long to compile as the step."""
    return jax.device_get(jax.jit(lambda: initial(JOBS[name](accumulate)[0]))())


def moments(task: Any) -> dict[str, list[float]]:
    """Every first moment of the optimizers, flattened and thinned: the gradients, but for a factor."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(task):
        name = jax.tree_util.keystr(path)
        if ".mu" in name:
            flat = np.asarray(leaf, np.float64).ravel()
            found[name] = [float(np.abs(flat).max()), *flat[:: max(flat.size // 50, 1)].tolist()]
    return found


def cut_share(state: Any) -> float:
    """Bytes of the state on one device over all bytes."""
    leaves = jax.tree.leaves(state)
    local = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return local / sum(leaf.nbytes for leaf in leaves)


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_default_matmul_precision", "highest")
    steps = int(sys.argv[1])
    report: dict[str, Any] = {}
    names = sys.argv[2:] or list(JOBS)
    if "mapping" in names:
        parts = {"accumulated": (2, 1, 1), "accumulated_one": (1, 1, 1)}
        report["mapping"] = {key: run("mapping", shape, 4, accumulate=2) for key, shape in parts.items()}
    for name in names:
        layouts = {"one": (1, 1, 1)} | {layout: LAYOUTS[layout] for layout in COMPARED[name]}
        report[name] = report.get(name, {}) | {key: run(name, shape, steps) for key, shape in layouts.items()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
