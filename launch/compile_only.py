"""Compiles the real training step for a mesh of devices that need not be there, and prints what it costs.

    python -m launch.compile_only --config=configs/mapping_general.py --devices=8            # simulated CPUs
    python -m launch.compile_only --preset=refiner_paper --batch=64 --topology=v5e:2x4       # needs libtpu
    python -m launch.compile_only --config=configs/x.py --devices=8 --set=mesh_fsdp=4 --json=cost.json

No data, no weights, no accelerator: memory per device, operations, and the collectives with their bytes, from
the program that the compiler made. With `--topology` that is the very program that runs on such a TPU slice
(package libtpu of the JAX in use: `pip install --no-deps libtpu==VERSION`). Simulated CPUs show the same
operations and collectives, but another memory: the CPU's compiler fuses otherwise. A loop's body counts once
in the compiler's figures.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)

# isort: split
import jax

from launch import shapes
from launch.load_config import load_config
from talkjax.errors import InputError, TalkjaxError
from talkjax.train import sharding
from talkjax.train.chips import find_chip
from talkjax.train.job import compile_step, make_layout
from talkjax.train.program_cost import by_kind, program_cost, wire_bytes
from talkjax.train.run_report import size


def topology_devices(name: str) -> list[Any]:
    """Descriptions of the devices of a TPU slice.

    Raises:
      InputError: no libtpu, or it knows no such slice.
    """
    from jax.experimental import topologies

    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no metadata server is asked what machine this is
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip is used that another process may hold
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except Exception as error:  # jaxlib raises its own runtime errors, and bare ones
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"--topology={name} cannot be compiled for here ({text})",
            expected="libtpu installed, and a slice like v5e:2x4",
            fix=f"pip install --no-deps the libtpu that jax {jax.__version__} names in its extra tpu",
            code="no_topology",
        ) from None


def measure(made: shapes.Shapes, mesh_shape: sharding.MeshShape, devices: list[Any]) -> dict[str, Any]:
    """Figures of a step on a mesh: per device, but `flops` of the whole step."""
    begin = time.monotonic()
    mesh = sharding.make_mesh(mesh_shape, devices)
    layout = make_layout(made.job, mesh, made.batch)
    program = compile_step(made.job.phases[0].step, layout, made.job.constants, made.accumulate)
    cost = program_cost(program.call)
    state = jax.tree.leaves(layout.state)
    return {
        "task": made.job.name,
        "batch": jax.tree.leaves(made.batch)[0].shape[0],
        "accumulate": made.accumulate,
        "mesh": dict(mesh.shape),
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "jax": jax.__version__,
        "state_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in state),
        "batch_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(made.batch)),
        "trained_parameters": trained_parameters(layout.state.task),
        "flops": program.flops,
        "compiler_flops": cost.compiler_flops,
        "accessed_bytes": cost.accessed,
        "argument_bytes": cost.arguments,
        "temporary_bytes": cost.temporaries,
        "peak_bytes": cost.peak_bytes,
        "collectives": by_kind(cost.collectives),
        "wire_bytes": wire_bytes(cost.collectives, len(devices)),
        "compile_seconds": round(time.monotonic() - begin, 1),
    }


def trained_parameters(state: Any) -> int:
    """Numbers that gradients change: those of every network of the state, without optimizers and memory."""
    parts = [getattr(state, name, None) for name in ("params", "query", "discriminator")]
    if parts[0] is None:
        parts = [state.variables["params"]]
    return sum(leaf.size for leaf in jax.tree.leaves(parts))


def report(figures: dict[str, Any]) -> str:
    """The figures as a few lines."""
    f = figures
    chip = find_chip(f["device_kind"])
    mesh = " x ".join(f"{name} {n}" for name, n in f["mesh"].items())
    lines = [
        f"{f['task']}, batch {f['batch']}, {f['devices']} x {f['device_kind']}, mesh {mesh}",
        f"  compiled in {f['compile_seconds']} s",
        f"  parameters  {f['trained_parameters']:,}; state {size(f['state_bytes'])}",
        f"  operations  {f['flops']:.4g} a step (matmul and convolution, all devices)",
    ]
    if f["compiler_flops"]:
        lines += [f"  compiler    {f['compiler_flops'] * f['devices']:.4g} operations (loop bodies once)"]
    if f["peak_bytes"] is not None:
        of = f" of {size(int(chip.memory))}" if chip else ""
        parts = f"arguments {size(f['argument_bytes'])}, temporaries {size(f['temporary_bytes'])}"
        lines += [f"  memory      {size(f['peak_bytes'])}{of} a device ({parts})"]
    if f["accessed_bytes"]:
        lines += [f"  traffic     {size(int(f['accessed_bytes']))} a device and step to and from memory"]
    for kind, row in f["collectives"].items():
        lines += [f"  {kind:<12}{row['count']} with {size(row['bytes'])} of results a device"]
    lines += [f"  wire        {size(int(f['wire_bytes']))} sent by a device and step"]
    return "\n".join(lines)


def mesh_shape(words: list[str]) -> sharding.MeshShape:
    """Devices along data, fsdp and model.

    Raises:
      InputError: not three whole numbers.
    """
    try:
        data, fsdp, model = (int(word) for word in words)
    except ValueError:
        expected = "three numbers, e.g. -1,1,1"
        raise InputError(f"--mesh={','.join(words)}", expected=expected, code="usage") from None
    return sharding.MeshShape(data, fsdp, model)


def _chosen(platform: str) -> tuple[shapes.Shapes, sharding.MeshShape]:
    if (flags.FLAGS.config is None) == (flags.FLAGS.preset is None):
        raise InputError("nothing to compile", expected="either --config=FILE or --preset=NAME", code="usage")
    if flags.FLAGS.config is not None:
        config = load_config(flags.FLAGS.config, flags.FLAGS.set)
        mesh = sharding.MeshShape(config.mesh_data, config.mesh_fsdp, config.mesh_model)
        return shapes.of_config(config, platform), mesh
    mesh = mesh_shape(flags.FLAGS.mesh)
    dtype = flags.FLAGS.dtype
    if dtype == "auto":
        dtype = "float32" if platform == "cpu" else "bfloat16"
    return shapes.PRESETS[flags.FLAGS.preset](flags.FLAGS.batch, dtype, 1), mesh


def main(argv: list[str]) -> None:
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument {argv[1]!r}", fix="see --help", code="usage")
        if flags.FLAGS.topology:
            devices = topology_devices(flags.FLAGS.topology)
        else:
            jax.config.update("jax_platforms", "cpu")
            jax.config.update("jax_num_cpu_devices", flags.FLAGS.devices)
            devices = jax.devices()
        figures = measure(*_chosen("tpu" if flags.FLAGS.topology else "cpu"), devices)
        print(report(figures))
        if flags.FLAGS.json:
            Path(flags.FLAGS.json).write_text(json.dumps(figures, indent=1) + "\n")
    except TalkjaxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def define_flags() -> None:
    """Apart from the import: several mains use the same names."""
    flags.DEFINE_string("config", None, "as launch.train has it; decides preset, batch, mesh and type")
    flags.DEFINE_multi_string("set", [], "setting=value; replaces one setting of the config")
    flags.DEFINE_enum("preset", None, list(shapes.PRESETS), "instead of --config")
    flags.DEFINE_integer("batch", 64, "with --preset: examples per step", lower_bound=1)
    flags.DEFINE_enum("dtype", "auto", ["auto", "float32", "bfloat16"], "with --preset: arithmetic")
    flags.DEFINE_list("mesh", ["-1", "1", "1"], "with --preset: devices along data, fsdp, model")
    flags.DEFINE_integer("devices", 8, "simulated CPU devices", lower_bound=1)
    flags.DEFINE_string("topology", None, "a TPU slice instead, e.g. v5e:2x4, v5p:2x4x4")
    flags.DEFINE_string("json", None, "also write the figures here")


if __name__ == "__main__":
    define_flags()
    app.run(main)
