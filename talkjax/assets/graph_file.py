"""Constants of a frozen TensorFlow graph (`.pb`, a serialized GraphDef) without TensorFlow.

Only constants are read, no operation is run. The wire format is protocol buffers'; field numbers are those of
TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from talkjax.assets.protobuf_wire import BYTES, FIXED32, DamagedMessageError, fields, message, text
from talkjax.errors import InputError

_FLOAT = 1


def _shape(data: memoryview) -> tuple[int, ...]:
    """TensorShapeProto: dim = 2 {size = 1}."""
    sizes = []
    for number, _, value in fields(data):
        if number == 2:
            found = [v for n, _, v in fields(message(value)) if n == 1]
            size = found[0] if found else 0
            if not isinstance(size, int) or size >= 1 << 31:
                raise DamagedMessageError("a size that is not known")
            sizes.append(size)
    return tuple(sizes)


def _tensor(data: memoryview) -> np.ndarray | None:
    """TensorProto: dtype = 1, tensor_shape = 2, tensor_content = 4, float_val = 5; None if not float32."""
    shape: tuple[int, ...] = ()
    dtype, content, listed = None, b"", bytearray()
    for number, wire, value in fields(data):
        if number == 1:
            dtype = value
        elif number == 2:
            shape = _shape(message(value))
        elif number == 4:
            content = bytes(message(value))
        elif number == 5 and wire in (BYTES, FIXED32):
            listed += bytes(message(value))
    if dtype != _FLOAT:
        return None
    values = np.frombuffer(content or bytes(listed), "<f4")
    if values.size != math.prod(shape):
        raise DamagedMessageError(f"{values.size} values for a tensor of shape {shape}")
    return values.reshape(shape)


def _constant(node: memoryview, wanted: Callable[[str], bool]) -> tuple[str, np.ndarray] | None:
    """NodeDef: name = 1, op = 2, attr = 5 {key = 1, value = 2 {tensor = 8}}."""
    name, op, attributes = "", "", []
    for number, _, value in fields(node):
        if number == 1:
            name = text(value)
        elif number == 2:
            op = text(value)
        elif number == 5:
            attributes.append(message(value))
    if op != "Const" or not wanted(name):
        return None
    for attribute in attributes:
        entry = {number: value for number, _, value in fields(attribute)}
        if 1 in entry and 2 in entry and text(entry[1]) == "value":
            for number, _, value in fields(message(entry[2])):
                if number == 8:
                    tensor = _tensor(message(value))
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
        for number, _, value in fields(data):
            if number == 1:  # GraphDef: node = 1
                constant = _constant(message(value), wanted)
                if constant is not None:
                    found[constant[0]] = constant[1]
    except (DamagedMessageError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name} cannot be read as a TensorFlow graph ({error})",
            expected="a frozen graph: one serialized GraphDef",
            fix="download the file again",
            code="graph_file",
        ) from error
    return found
