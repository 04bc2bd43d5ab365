"""Meshes and shardings: the only file that knows how arrays lie on devices.

A mesh has three axes. `data`: every device group holds all parameters and a part of the batch. `fsdp`: the
batch and the parameters are both cut. `model`: the channels of big layers are cut. Layers say nothing about
it: a leaf's path and rank name its logical axes, and one table maps those to mesh axes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from talkjax.errors import InputError

AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")

RULES: dict[str, str | None] = {
    "in": "fsdp",  # features that a layer reads
    "out": "model",  # features that a dense layer writes
    "channel": None,  # channels that a convolution writes
    "slots": "fsdp",  # rows of the memory bank
    "tap": None,  # kernel height, width
    "feature": None,  # width of a memory row
    "other": None,
}
"""Logical axis -> mesh axis; None: whole on every device."""

SMALLEST_CUT = 2**14
"""Leaves with fewer numbers stay whole: gathering them would cost more than they take."""

_KERNEL = {2: ("in", "out"), 3: ("tap", "in", "channel"), 4: ("tap", "tap", "in", "channel")}
_BANK = {
    "keys": ("slots", "feature"),
    "values": ("slots", "feature"),
    "age": ("slots",),
    "source_id": ("slots",),
}


class MeshShape(NamedTuple):
    """Devices along each axis; -1 (once): all that are left."""

    data: int = -1
    fsdp: int = 1
    model: int = 1


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over `devices` (default: all, of all hosts).

    Raises:
      InputError: the shape does not fit the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    n, sizes = len(devices), list(shape)
    if sizes.count(-1) == 1:
        known = math.prod(s for s in sizes if s != -1)
        sizes[sizes.index(-1)] = n // known if known > 0 and n % known == 0 else 0
    if min(sizes) < 1 or math.prod(sizes) != n:
        asked = " x ".join(f"{name} {size}" for name, size in zip(AXES, shape, strict=True))
        raise InputError(
            f"a mesh of {asked} does not fit {n} devices",
            expected=f"a product of {n} (-1 stands for what is left)",
            fix="change --set=mesh_data, mesh_fsdp, mesh_model",
            code="bad_mesh",
        )
    # Auto: the compiler places what has no constraint; explicit axes break Linen's parameter creation
    auto = (jax.sharding.AxisType.Auto,) * len(AXES)
    return jax.make_mesh(tuple(sizes), AXES, axis_types=auto, devices=devices)


def logical_axes(path: str, rank: int) -> tuple[str, ...]:
    """Names of a leaf's axes, from its place in the state (`jax.tree_util.keystr`) and its rank."""
    if ".bank" in path:
        name = path.rsplit(".", 1)[-1]
        if len(_BANK.get(name, ())) == rank:
            return _BANK[name]
    if path.rstrip("']").endswith("kernel") and rank in _KERNEL:
        return _KERNEL[rank]
    return ("other",) * rank


def leaf_spec(mesh: Mesh, path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """How one leaf of the state is cut; axes that do not divide evenly stay whole."""
    if math.prod(shape) < SMALLEST_CUT:
        return PartitionSpec()
    cut: list[str | None] = []
    for name, size in zip(logical_axes(path, len(shape)), shape, strict=True):
        axis = RULES[name]
        fits = axis is not None and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0
        cut.append(axis if fits else None)
    while cut and cut[-1] is None:
        cut.pop()
    return PartitionSpec(*cut)


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """A `NamedSharding` for every leaf of a (possibly abstract) state."""

    def of_leaf(path: Any, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, leaf_spec(mesh, jax.tree_util.keystr(path), tuple(leaf.shape)))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def batch_shardings(mesh: Mesh, spec: Any) -> Any:
    """Rows over `data` and `fsdp`."""
    return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec(BATCH_AXES)), spec)


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


@dataclasses.dataclass(frozen=True)
class Rows:
    """The part of a global batch that a process feeds: part `index` of `count` equal ones."""

    index: int
    count: int


def rows_of_process(mesh: Mesh, batch: int, process: int | None = None, accumulate: int = 1) -> Rows:
    """Which rows a process (default: this one) must read; the batch is computed in `accumulate` parts.

    Raises:
      InputError: the batch does not divide over the mesh, or the process's rows are no equal, contiguous
      part.
    """
    ways = mesh.shape["data"] * mesh.shape["fsdp"] * accumulate
    if batch % ways:
        raise InputError(
            f"a batch of {batch} does not divide over {ways} parts (data x fsdp x accumulate)",
            expected=f"a multiple of {ways}",
            fix=f"--set=batch={-(-batch // ways) * ways}",
            code="bad_batch",
        )
    process = jax.process_index() if process is None else process
    indices: Any = NamedSharding(mesh, PartitionSpec(BATCH_AXES)).devices_indices_map((batch,))
    spans = {
        (piece[0].start or 0, batch if piece[0].stop is None else piece[0].stop)
        for device, piece in indices.items()
        if device.process_index == process
    }
    low, high = min(s for s, _ in spans), max(e for _, e in spans)
    size = high - low
    if sum(e - s for s, e in spans) != size or batch % size or low % size:
        raise InputError(
            f"process {process} would feed rows {sorted(spans)} of {batch}",
            expected="one contiguous part of the batch per process",
            fix="let the axis `model` stay inside a host",
            code="bad_mesh",
        )
    return Rows(low // size, batch // size)


def to_global(local: Any, shardings: Any, rows: Rows) -> Any:
    """Host-local rows -> global arrays on the mesh. Rows that are on a device go from there."""

    def place(piece: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(piece, jax.Array) and rows.count == 1:
            return jax.device_put(piece, sharding)
        piece = np.asarray(piece)
        shape = (piece.shape[0] * rows.count, *piece.shape[1:])
        return jax.make_array_from_process_local_data(sharding, piece, shape)

    return jax.tree.map(place, local, shardings)


def describe(shardings: Any, state: Any) -> list[str]:
    """One line per leaf: path, type and shape, spec. What the golden files hold."""
    lines = []
    specs = jax.tree.leaves(shardings)
    for (path, leaf), sharding in zip(jax.tree_util.tree_leaves_with_path(state), specs, strict=True):
        spec = ", ".join("-" if axis is None else str(axis) for axis in sharding.spec) or "whole"
        lines.append(f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)} {spec}")
    return lines
