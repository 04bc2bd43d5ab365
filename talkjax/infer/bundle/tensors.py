"""Arrays by name as one block of bytes, in the safetensors layout: 8 bytes of length, a JSON header, raw
data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_CODES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I32": "int32", "U32": "uint32", "I64": "int64",
    "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
_NAMES = {np.dtype(name): code for code, name in _CODES.items()}
_ALIGN = 64
MAX_HEADER = 1 << 24


def encode(arrays: Mapping[str, Any]) -> bytes:
    """The bytes of arrays; equal input gives equal bytes.

    Raises:
      ValueError: a type that the layout does not have.
    """
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype not in _NAMES:
            raise ValueError(f"{name} has the type {array.dtype}")
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def decode(data: bytes) -> dict[str, np.ndarray]:
    """Read-only arrays over the bytes.

    Raises:
      ValueError: not of this layout.
    """
    n_header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or n_header > min(MAX_HEADER, len(data) - 8):
        raise ValueError("the header is longer than the data")
    header = json.loads(data[8 : 8 + n_header])
    body = memoryview(data)[8 + n_header :]
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (int(x) for x in entry["data_offsets"])
        shape = tuple(int(x) for x in entry["shape"])
        dtype = np.dtype(_CODES[entry["dtype"]])
        count = 1
        for side in shape:
            count *= side
        if (
            min(shape, default=0) < 0
            or not 0 <= begin <= end <= len(body)
            or end - begin != count * dtype.itemsize
        ):
            raise ValueError(f"{name} lies outside the data")
        out[name] = np.frombuffer(body[begin:end], dtype).reshape(shape)
    return out
