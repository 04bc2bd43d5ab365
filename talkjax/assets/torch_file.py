"""Tensors of a PyTorch checkpoint (`torch.save`, the zip form of PyTorch >= 1.6) without PyTorch.

Nothing in the file is executed: its pickle may name ordered dictionaries and tensors, which are built by the
code below, and nothing else.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from talkjax.errors import InputError

_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MAX_PICKLE_BYTES = 1 << 26
"""The pickle holds names and shapes only; 64 MB of it is no checkpoint."""


class _Refused(Exception):
    """Why a file was not read, in words for the user."""


class _Dtype(str):
    """Stands for a storage class named in the pickle: the numpy type of its numbers."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it sets attributes of a type")


class _Maker:
    """A function that a pickle may call but, unlike a function proper, not set attributes of."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]):
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it sets attributes of a function")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage, its bounds checked."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise _Refused("a tensor without numbers")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise _Refused(f"a tensor of size {size} and stride {stride}")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    # strides of 0 would let a small file ask for any amount of memory
    if math.prod(size) > storage.size or (math.prod(size) and last >= storage.size):
        raise _Refused(f"a tensor of size {tuple(size)} in {storage.size} numbers")
    if not math.prod(size):
        return np.zeros(tuple(size), storage.dtype)
    steps = tuple(s * storage.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), steps).copy()


def _parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_parameter`: the tensor itself."""
    return data


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Maker(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Maker(_parameter),
    **{("torch", name): _Dtype(dtype) for name, dtype in _DTYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, archive: zipfile.ZipFile, root: str, order: Literal["<", ">"]):
        super().__init__(io.BytesIO(data))
        self._archive, self._root, self._order = archive, root, order
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise _Refused(f"it names {module}.{name}, which is no tensor")
        return found

    def persistent_load(self, pid: Any) -> np.ndarray:
        """`("storage", class, key, device, count)`: the numbers in `data/key`."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise _Refused("a storage record of unknown form")
        dtype, key, count = pid[1], str(pid[2]), pid[4]
        if not isinstance(dtype, _Dtype):
            raise _Refused("a storage of unknown type")
        if key not in self._storages:
            data = _member(self._archive, f"{self._root}data/{key}")
            self._storages[key] = np.frombuffer(data, np.dtype(dtype).newbyteorder(self._order))
        storage = self._storages[key]
        if storage.size != count:
            raise _Refused(f"storage {key} has {storage.size} numbers, not {count}")
        return storage


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # PyTorch never packs; a packed one may be a bomb
        raise _Refused(f"{name} is compressed")
    return archive.read(info)


def read_torch_file(path: Path) -> Any:
    """What `torch.save` wrote: nested dicts, lists and numbers; every tensor a numpy array.

    Raises:
      InputError: (`torch_file`) not of this form, damaged, or asking for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.endswith("data.pkl") and n.count("/") <= 1]
            if len(pickles) != 1:
                raise _Refused("there is no data.pkl in it")
            root = pickles[0].removesuffix("data.pkl")
            if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
                raise _Refused("its pickle is too large")
            order: Literal["<", ">"] = "<"
            if f"{root}byteorder" in archive.namelist():
                order = "<" if _member(archive, f"{root}byteorder").strip() == b"little" else ">"
            return _TensorUnpickler(_member(archive, pickles[0]), archive, root, order).load()
    except FileNotFoundError as error:
        raise InputError(f"no file {path}", fix="check the path", code="torch_file") from error
    # an unpickler fed nonsense raises nearly anything
    except Exception as error:
        why = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path.name} cannot be read as PyTorch weights ({' '.join(why.split())})",
            expected="a checkpoint of torch.save (PyTorch 1.6 or newer) that holds tensors only",
            fix="save the network's state_dict() alone with a current PyTorch, or download the file again",
            code="torch_file",
        ) from error
