"""Tensors of a PyTorch checkpoint (`torch.save`) without PyTorch: the zip form of 1.6 and later, and the row
of pickles and numbers that came before it.

Nothing in the file is executed: its pickles may name ordered dictionaries and tensors, which are built by the
code below, and nothing else.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Literal

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


Storages = Callable[[_Dtype, str, int], np.ndarray]
"""(type, key, count) -> the numbers of a storage."""


class _TensorUnpickler(pickle.Unpickler):
    def __init__(
        self, file: IO[bytes], storages: Storages, allowed: Mapping[tuple[str, str], Any] = _ALLOWED
    ):
        super().__init__(file)
        self._storages, self._allowed = storages, allowed

    def find_class(self, module: str, name: str) -> Any:
        found = self._allowed.get((module, name))
        if found is None:
            raise _Refused(f"it names {module}.{name}, which is no tensor")
        return found

    def persistent_load(self, pid: Any) -> np.ndarray:
        """`("storage", class, key, device, count)`, and in the old form what part of another one it is."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise _Refused("a storage record of unknown form")
        dtype, key, count = pid[1], str(pid[2]), pid[4]
        if not isinstance(dtype, _Dtype) or not isinstance(count, int) or count < 0:
            raise _Refused("a storage of unknown type")
        return self._storages(dtype, key, count)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # PyTorch never packs; a packed one may be a bomb
        raise _Refused(f"{name} is compressed")
    return archive.read(info)


def _read_zip(path: Path) -> Any:
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
        read: dict[str, np.ndarray] = {}

        def storage(dtype: _Dtype, key: str, count: int) -> np.ndarray:
            if key not in read:
                data = _member(archive, f"{root}data/{key}")
                read[key] = np.frombuffer(data, np.dtype(dtype).newbyteorder(order))
            if read[key].size != count:
                raise _Refused(f"storage {key} has {read[key].size} numbers, not {count}")
            return read[key]

        return _TensorUnpickler(io.BytesIO(_member(archive, pickles[0])), storage).load()


_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
_NOTHING = np.zeros(1, np.float32)
_LOOKED_THROUGH = {
    key: _Maker(lambda *_: _NOTHING) if isinstance(made, _Maker) else made for key, made in _ALLOWED.items()
}


def _read_old(path: Path) -> Any:
    """Pickles of a magic number, a version, sizes of types, the content, the storages' keys; then each
    storage: its count in 8 bytes and its numbers.

    The content comes before its numbers, so it is read twice: for the storages' types, then with them.
    """
    with path.open("rb") as file:

        def plain() -> Any:
            return _TensorUnpickler(file, _no_storage, {}).load()

        if plain() != _OLD_MAGIC or plain() != _OLD_VERSION:
            raise _Refused("it is neither a zip file nor one of PyTorch before 1.6")
        system = plain()
        order: Literal["<", ">"] = "<" if system.get("little_endian", True) else ">"
        kinds: dict[str, tuple[_Dtype, int]] = {}

        def note(dtype: _Dtype, key: str, count: int) -> np.ndarray:
            if kinds.setdefault(key, (dtype, count)) != (dtype, count):
                raise _Refused(f"storage {key} has two types")
            return _NOTHING

        start = file.tell()
        _TensorUnpickler(file, note, _LOOKED_THROUGH).load()
        if file.tell() - start > _MAX_PICKLE_BYTES:
            raise _Refused("its pickle is too large")
        keys = plain()
        if sorted(map(str, keys)) != sorted(kinds):
            raise _Refused("its list of storages is another than its tensors'")
        read = {str(key): _old_storage(file, *kinds[str(key)], order) for key in keys}
        file.seek(start)
        return _TensorUnpickler(file, lambda dtype, key, count: read[key], _ALLOWED).load()


def _no_storage(dtype: _Dtype, key: str, count: int) -> np.ndarray:
    raise _Refused("a tensor where none belongs")


def _old_storage(file: IO[bytes], dtype: _Dtype, count: int, order: Literal["<", ">"]) -> np.ndarray:
    kind = np.dtype(dtype).newbyteorder(order)
    if int.from_bytes(file.read(8), "little" if order == "<" else "big") != count:
        raise _Refused(f"a storage has not {count} numbers")
    at, end = file.tell(), file.seek(0, io.SEEK_END)
    if count * kind.itemsize > end - at:  # a false count must not reserve memory
        raise _Refused("it ends inside its numbers")
    file.seek(at)
    data = file.read(count * kind.itemsize)
    return np.frombuffer(data, kind)


def read_torch_file(path: Path) -> Any:
    """What `torch.save` wrote: nested dicts, lists and numbers; every tensor a numpy array.

    Raises:
      InputError: (`torch_file`) not of this form, damaged, or asking for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        return _read_zip(path) if is_zip else _read_old(path)
    except FileNotFoundError as error:
        raise InputError(f"no file {path}", fix="check the path", code="torch_file") from error
    # an unpickler fed nonsense raises nearly anything
    except Exception as error:
        why = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path.name} cannot be read as PyTorch weights ({' '.join(why.split())})",
            expected="a checkpoint of torch.save that holds tensors only",
            fix="save the network's state_dict() alone with a current PyTorch, or download the file again",
            code="torch_file",
        ) from error
