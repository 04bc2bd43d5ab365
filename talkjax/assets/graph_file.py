"""Constants of a frozen TensorFlow graph (`.pb`, a serialized GraphDef) without TensorFlow.

Only constants are read, no operation is run. The wire format is protocol buffers'; field numbers are those of
TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from talkjax.errors import InputError

_FLOAT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, "memoryview | int"]


class _Damaged(Exception):
    """Not a serialized message."""


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        if at >= len(data):
            raise _Damaged("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at
    raise _Damaged("a number is too long")


def _fields(data: memoryview) -> Iterator[Field]:
    """(number, wire type, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise _Damaged(f"field {number} has wire type {wire}")
        if number == 0 or at + size > len(data):
            raise _Damaged("a field is longer than the file")
        yield number, wire, data[at : at + size]
        at += size


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise _Damaged("a number stands where a message belongs")
    return value


def _text(value: memoryview | int) -> str:
    return bytes(_message(value)).decode("utf-8")


def _shape(data: memoryview) -> tuple[int, ...]:
    """TensorShapeProto: dim = 2 {size = 1}."""
    sizes = []
    for number, _, value in _fields(data):
        if number == 2:
            found = [v for n, _, v in _fields(_message(value)) if n == 1]
            size = found[0] if found else 0
            if not isinstance(size, int) or size >= 1 << 31:
                raise _Damaged("a size that is not known")
            sizes.append(size)
    return tuple(sizes)


def _tensor(data: memoryview) -> np.ndarray | None:
    """TensorProto: dtype = 1, tensor_shape = 2, tensor_content = 4, float_val = 5; None if not float32."""
    shape: tuple[int, ...] = ()
    dtype, content, listed = None, b"", bytearray()
    for number, wire, value in _fields(data):
        if number == 1:
            dtype = value
        elif number == 2:
            shape = _shape(_message(value))
        elif number == 4:
            content = bytes(_message(value))
        elif number == 5 and wire in (_BYTES, _FIXED32):
            listed += bytes(_message(value))
    if dtype != _FLOAT:
        return None
    values = np.frombuffer(content or bytes(listed), "<f4")
    if values.size != math.prod(shape):
        raise _Damaged(f"{values.size} values for a tensor of shape {shape}")
    return values.reshape(shape)


def _constant(node: memoryview, wanted: Callable[[str], bool]) -> tuple[str, np.ndarray] | None:
    """NodeDef: name = 1, op = 2, attr = 5 {key = 1, value = 2 {tensor = 8}}."""
    name, op, attributes = "", "", []
    for number, _, value in _fields(node):
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 5:
            attributes.append(_message(value))
    if op != "Const" or not wanted(name):
        return None
    for attribute in attributes:
        entry = {number: value for number, _, value in _fields(attribute)}
        if 1 in entry and 2 in entry and _text(entry[1]) == "value":
            for number, _, value in _fields(_message(entry[2])):
                if number == 8:
                    tensor = _tensor(_message(value))
                    return None if tensor is None else (name, tensor)
    return None


def read_graph_constants(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """float32 constants by node name.

    Args:
      path: of the graph.
      wanted: which names to read; all other nodes are passed over.

    Raises:
      InputError: (`graph_file`) no such file, or not a whole GraphDef.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", code="graph_file") from error
    found = {}
    try:
        for number, _, value in _fields(data):
            if number == 1:  # GraphDef: node = 1
                constant = _constant(_message(value), wanted)
                if constant is not None:
                    found[constant[0]] = constant[1]
    except (_Damaged, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name} cannot be read as a TensorFlow graph ({error})",
            expected="a frozen graph: one serialized GraphDef",
            fix="download the file again",
            code="graph_file",
        ) from error
    return found
