"""Reads a .tflite file into a small graph value; needs the `flatbuffers` package only, no TFLite runtime.

Slot numbers and enum values are those of the public TFLite flatbuffer schema. Only what the two face models
use is understood; anything else raises ValueError with its name.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from flatbuffers import flexbuffers, number_types
from flatbuffers.table import Table

_OPERATORS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    22: "RESHAPE",
    34: "PAD",
    45: "STRIDED_SLICE",
    54: "PRELU",
}
_CUSTOM = 32
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64}
_INT8, _INT32 = number_types.Int8Flags, number_types.Int32Flags
# Option fields per operator: name -> (slot, type, default).
_CONV = {"padding": (0, _INT8, 0), "stride_w": (1, _INT32, 0), "stride_h": (2, _INT32, 0)}
_OPTIONS: dict[str, dict[str, tuple[int, Any, int]]] = {
    "ADD": {"activation": (0, _INT8, 0)},
    "MUL": {"activation": (0, _INT8, 0)},
    "CONCATENATION": {"axis": (0, _INT32, 0), "activation": (1, _INT8, 0)},
    "CONV_2D": _CONV
    | {"activation": (3, _INT8, 0), "dilation_w": (4, _INT32, 1), "dilation_h": (5, _INT32, 1)},
    "DEPTHWISE_CONV_2D": _CONV
    | {"activation": (4, _INT8, 0), "dilation_w": (5, _INT32, 1), "dilation_h": (6, _INT32, 1)},
    "MAX_POOL_2D": _CONV
    | {"filter_w": (3, _INT32, 0), "filter_h": (4, _INT32, 0), "activation": (5, _INT8, 0)},
}


@dataclasses.dataclass(frozen=True)
class Operator:
    """One node: `name` is the TFLite name, or the custom op's own; tensor indices; decoded options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A model: operators in execution order, constants by tensor index, shape and name of each tensor."""

    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, np.ndarray]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]


class FlatTable:
    """A flatbuffer table at a byte position, with the few accessors that are needed here."""

    def __init__(self, data: bytes | bytearray, position: int):
        self.table = Table(data, position)

    @classmethod
    def root(cls, data: bytes | bytearray) -> FlatTable:
        """The root table; raises ValueError where the bytes are no TFLite model."""
        if len(data) < 8 or bytes(data[4:8]) != b"TFL3":
            raise ValueError("not a TFLite model (identifier TFL3 is missing)")
        return cls(data, int.from_bytes(data[:4], "little"))

    def field(self, slot: int) -> int:
        """Byte position of a field, 0 where it is absent."""
        offset = self.table.Offset(4 + 2 * slot)
        return self.table.Pos + offset if offset else 0

    def scalar(self, slot: int, flags: Any, default: int) -> int:
        position = self.field(slot)
        return int(self.table.Get(flags, position)) if position else default

    def text(self, slot: int) -> str:
        position = self.field(slot)
        return self.table.String(position).decode() if position else ""

    def vector(self, slot: int) -> tuple[int, int]:
        """(byte position of the first element, number of elements)."""
        position = self.field(slot)
        if not position:
            return 0, 0
        relative = position - self.table.Pos
        return self.table.Vector(relative), self.table.VectorLen(relative)

    def array(self, slot: int, dtype: Any) -> np.ndarray:
        start, count = self.vector(slot)
        return np.frombuffer(bytes(self.table.Bytes[start : start + count * np.dtype(dtype).itemsize]), dtype)

    def child(self, slot: int) -> FlatTable | None:
        position = self.field(slot)
        return FlatTable(self.table.Bytes, self.table.Indirect(position)) if position else None

    def children(self, slot: int) -> list[FlatTable]:
        start, count = self.vector(slot)
        return [FlatTable(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]


def main_subgraph(data: bytes | bytearray) -> FlatTable:
    """The only subgraph of a model."""
    subgraphs = FlatTable.root(data).children(2)
    if len(subgraphs) != 1:
        raise ValueError(f"expected one subgraph, got {len(subgraphs)}")
    return subgraphs[0]


def _operator_name(code: FlatTable) -> str:
    number = max(code.scalar(0, _INT8, 0), code.scalar(3, _INT32, 0))
    if number == _CUSTOM:
        return code.text(1)
    if number not in _OPERATORS:
        raise ValueError(f"TFLite operator number {number} is not supported")
    return _OPERATORS[number]


def _operator(node: FlatTable, names: list[str]) -> Operator:
    name = names[node.scalar(0, number_types.Uint32Flags, 0)]
    table, custom = node.child(4), node.array(5, np.uint8)
    options: dict[str, Any] = {}
    if name in _OPTIONS:
        if table is None:
            raise ValueError(f"{name} without options")
        options = {key: table.scalar(*field) for key, field in _OPTIONS[name].items()}
        if options.get("dilation_w", 1) != 1 or options.get("dilation_h", 1) != 1:
            raise ValueError(f"{name}: dilation is not supported")
    elif len(custom):
        options = flexbuffers.Loads(custom.tobytes())
    inputs, outputs = (tuple(int(i) for i in node.array(slot, np.int32)) for slot in (1, 2))
    return Operator(name, inputs, outputs, options)


def read_graph(data: bytes) -> Graph:
    """Decodes a model; float16 constants become float32, DEQUANTIZE nodes of constants disappear.

    Raises:
      ValueError: the bytes are no TFLite model, or use an operator that is not understood.
    """
    root, subgraph = FlatTable.root(data), main_subgraph(data)
    buffers = root.children(4)
    names = [_operator_name(code) for code in root.children(1)]
    tensors = subgraph.children(0)
    shapes = tuple(tuple(int(n) for n in t.array(0, np.int32)) for t in tensors)
    constants: dict[int, np.ndarray] = {}
    for i, tensor in enumerate(tensors):
        dtype = _DTYPES[tensor.scalar(1, _INT8, 0)]
        values = buffers[tensor.scalar(2, number_types.Uint32Flags, 0)].array(0, np.uint8).view(dtype)
        if values.size:
            constants[i] = values.reshape(shapes[i])
    operators = []
    for node in subgraph.children(3):
        operator = _operator(node, names)
        if operator.name == "DEQUANTIZE":
            constants[operator.outputs[0]] = constants[operator.inputs[0]].astype(np.float32)
        else:
            operators.append(operator)
    inputs, outputs = (tuple(int(i) for i in subgraph.array(slot, np.int32)) for slot in (1, 2))
    return Graph(tuple(operators), inputs, outputs, constants, shapes, tuple(t.text(3) for t in tensors))
