"""Cuts a sub-graph out of a TFLite model by editing the flatbuffer in place.

The attention mesh holds custom operators that no plain runtime knows. The nodes between two sets of tensors
are kept and all others dropped, which removes the custom operators from the parts that LiteRT has to run. A
model stores its node list and its inputs and outputs as vectors behind forward offsets, so the node list can
shrink where it lies and new input and output vectors can be put at the end; weights and tensors stay
untouched.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from talkjax.track.tflite_graph import FlatTable, main_subgraph

_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_NODES = 1, 2, 3
_NODE_INPUTS, _NODE_OUTPUTS = 1, 2


def _needed_nodes(nodes: list[FlatTable], inputs: Sequence[int], outputs: Sequence[int]) -> list[int]:
    """Indices, in execution order, of the nodes between `inputs` and `outputs`."""
    reads = [node.array(_NODE_INPUTS, np.int32) for node in nodes]
    producer = {int(t): i for i, node in enumerate(nodes) for t in node.array(_NODE_OUTPUTS, np.int32)}
    wanted, needed = list(outputs), set()
    while wanted:
        tensor = wanted.pop()
        if tensor in inputs or tensor not in producer or producer[tensor] in needed:
            continue
        needed.add(producer[tensor])
        wanted.extend(int(t) for t in reads[producer[tensor]] if t >= 0)
    return sorted(needed)


def _redirect(data: bytearray, subgraph: FlatTable, slot: int, values: Sequence[int]) -> None:
    """Lets a vector field of the sub-graph point to a new vector at the end of the file."""
    data.extend(b"\0" * (-len(data) % 4))
    field = subgraph.field(slot)
    struct.pack_into("<I", data, field, len(data) - field)
    data.extend(struct.pack(f"<I{len(values)}i", len(values), *values))


def cut_model(model: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The model that computes tensors `outputs` from tensors `inputs` (indices of the given model).

    Raises:
      ValueError: an output does not depend on any of the model's nodes.
    """
    data = bytearray(model)
    subgraph = main_subgraph(data)
    nodes = subgraph.children(_SUBGRAPH_NODES)
    needed = _needed_nodes(nodes, inputs, outputs)
    if not needed:
        raise ValueError(f"tensors {list(outputs)} are not computed from {list(inputs)}")
    start, _ = subgraph.vector(_SUBGRAPH_NODES)
    targets = [nodes[i].table.Pos for i in needed]
    for slot, target in enumerate(targets):
        entry = start + 4 * slot
        struct.pack_into("<I", data, entry, target - entry)
    struct.pack_into("<I", data, start - 4, len(needed))
    _redirect(data, subgraph, _SUBGRAPH_INPUTS, inputs)
    _redirect(data, subgraph, _SUBGRAPH_OUTPUTS, outputs)
    return bytes(data)
