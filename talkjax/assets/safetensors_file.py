"""Tensors of a `.safetensors` file: 8 bytes with the length of a JSON header, the header, the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "<i1", "U8": "<u1", "BOOL": "?"},
}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name.

    Raises:
      InputError: (`safetensors_file`) no such file, or not a whole one of this form.
    """
    try:
        data = memoryview(path.read_bytes())
        length = int.from_bytes(data[:8], "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError("its header has no length that fits")
        header = json.loads(bytes(data[8 : 8 + length]))
        numbers = data[8 + length :]
        return {
            name: _tensor(name, about, numbers) for name, about in header.items() if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{path.name} cannot be read as safetensors ({' '.join(str(why).split())})",
            expected="a whole .safetensors file",
            fix="check the path, or download the file again",
            code="safetensors_file",
        ) from error


def _tensor(name: str, about: Any, numbers: memoryview) -> np.ndarray:
    start, end = about["data_offsets"]
    if about["dtype"] not in _DTYPES:
        raise ValueError(f"{name} has type {about['dtype']}")
    kind, shape = np.dtype(_DTYPES[about["dtype"]]), tuple(about["shape"])
    counts = (start, end, *shape)
    if not all(isinstance(n, int) and n >= 0 for n in counts) or end > len(numbers):
        raise ValueError(f"{name} lies outside the file")
    if end - start != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{name} has {end - start} bytes for shape {shape}")
    return np.frombuffer(numbers[start:end], kind).reshape(shape)


def read_tensors_of(path: Path) -> Any:
    """What lies in a `.safetensors` file, or in any other as PyTorch's."""
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path)
