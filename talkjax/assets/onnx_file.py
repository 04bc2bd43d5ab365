"""The graph of an ONNX file without ONNX: its nodes and its stored tensors. No node is run.

Field numbers are those of onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.protobuf_wire import VARINT, DamagedMessageError, fields, message, text, varint
from talkjax.errors import InputError

_DTYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
_LISTED = {4: (1, "<f4"), 7: (7, "<i8"), 10: (11, "<f8")}  # field -> (data type, numbers)


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation: names of what goes in and out, and its settings (float, int, ints or tensor)."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in the file's order; `tensors` are stored ones by name; `inputs` what a caller gives."""

    nodes: tuple[Node, ...]
    tensors: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(path: Path) -> Graph:
    """The main graph of a model.

    Raises:
      InputError: (`onnx_file`) no such file, not a whole model, or its numbers lie in other files.
    """
    try:
        data = memoryview(path.read_bytes())
        graphs = [message(value) for number, _, value in fields(data) if number == 7]  # ModelProto.graph
        if len(graphs) != 1:
            raise DamagedMessageError("there is no graph in it")
        return _graph(graphs[0])
    except (OSError, DamagedMessageError, UnicodeDecodeError, struct.error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{path.name} cannot be read as an ONNX model ({why})",
            expected="one whole .onnx file with its weights inside",
            fix="check the path, or download the file again",
            code="onnx_file",
        ) from error


def _graph(data: memoryview) -> Graph:
    nodes: list[Node] = []
    tensors: dict[str, np.ndarray] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    for number, _, value in fields(data):
        if number == 1:
            node = _node(message(value))
            if node.op == "Constant" and isinstance(node.settings.get("value"), np.ndarray):
                tensors[node.outputs[0]] = node.settings["value"]
            else:
                nodes.append(node)
        elif number == 5:
            name, tensor = _tensor(message(value))
            if tensor is not None:
                tensors[name] = tensor
        elif number in (11, 12):
            named = [text(v) for n, _, v in fields(message(value)) if n == 1]
            (inputs if number == 11 else outputs).extend(named)
    given = tuple(name for name in inputs if name not in tensors)
    return Graph(tuple(nodes), tensors, given, tuple(outputs))


def _node(data: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op, settings = "", {}
    for number, _, value in fields(data):
        if number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 4:
            op = text(value)
        elif number == 5:
            name, setting = _setting(message(value))
            settings[name] = setting
    return Node(op, tuple(inputs), tuple(outputs), settings)


def _setting(data: memoryview) -> tuple[str, Any]:
    """AttributeProto: name = 1, f = 2, i = 3, t = 5, ints = 8; other kinds are None."""
    name, value = "", None
    for number, wire, part in fields(data):
        if number == 1:
            name = text(part)
        elif number == 2 and not isinstance(part, int):
            value = struct.unpack("<f", part)[0]
        elif number == 3 and isinstance(part, int):
            value = _signed(part)
        elif number == 5:
            value = _tensor(message(part))[1]
        elif number == 8:
            value = [*(value or []), *_ints(wire, part)]
    return name, value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _ints(wire: int, value: memoryview | int) -> list[int]:
    """Numbers of a repeated field, packed or one by one."""
    if wire == VARINT and isinstance(value, int):
        return [_signed(value)]
    data, at, found = message(value), 0, []
    while at < len(data):
        number, at = varint(data, at)
        found.append(_signed(number))
    return found


def _tensor(data: memoryview) -> tuple[str, np.ndarray | None]:
    """TensorProto: dims = 1, data_type = 2, numbers = 4, 7, 9 (raw), 10, name = 8, data_location = 14.

    None for types that weights do not have.
    """
    dims: list[int] = []
    kind, name, raw, external = 0, "", b"", False
    listed: dict[int, bytes] = {}
    for number, wire, value in fields(data):
        if number == 1:
            dims += _ints(wire, value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = text(value)
        elif number == 9:
            raw = bytes(message(value))
        elif number == 7:
            listed[7] = listed.get(7, b"") + np.array(_ints(wire, value), "<i8").tobytes()
        elif number in _LISTED:
            listed[number] = listed.get(number, b"") + bytes(message(value))
        elif number == 14:
            external = value == 1
    if external:
        raise DamagedMessageError(f"the numbers of {name} lie in another file")
    if kind not in _DTYPES:
        return name, None
    for number, (of_kind, _) in _LISTED.items():
        if kind == of_kind and number in listed:
            raw = listed[number]
    values = np.frombuffer(raw, _DTYPES[kind]) if len(raw) % np.dtype(_DTYPES[kind]).itemsize == 0 else None
    if values is None or any(n < 0 for n in dims) or values.size != math.prod(dims):
        raise DamagedMessageError(f"{name} has other numbers than its shape {dims} says")
    return name, values.reshape(dims)
