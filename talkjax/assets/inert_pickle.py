"""Arrays out of a pickle that nobody vouches for. Run as a program of its own; imports nothing of talkjax.

    python -P inert_pickle.py SOURCE TARGET.npz KEY...

Reads a pickled dict (or an npy file that holds one), takes the arrays under the named keys and writes them
to an npz. A pickle may name any function of any package; here every name leads to a short list: numpy's own
rebuilding of arrays, and dead objects that only remember what they were given (chumpy arrays, scipy's
sparse matrices, torch tensors). Any other name ends the program before anything is called. One line on
stderr and exit code 3 say why nothing was written.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, Any

import numpy as np

REFUSED = 3
_MOST_MEMORY = 16 << 30
_MOST_NUMBERS = 1 << 30


class RefusedPickle(Exception):
    """The file is not what may be read."""


class Inert:
    """Stands for an object of a package that is not at hand: keeps what it was given and does nothing."""

    given: tuple[Any, ...] = ()  # pickles make objects without calling __init__
    state: Mapping[str, Any] = MappingProxyType({})  # nobody may write what all objects share

    def __init__(self, *given: Any, **named: Any):
        self.given, self.state = given, named

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = {**(state[0] or {}), **state[1]}
        self.state = dict(state) if isinstance(state, dict) else {}


class Chumpy(Inert):
    """chumpy.ch.Ch: its numbers are `x`."""


class Sparse(Inert):
    """A scipy.sparse matrix in column (csc) or row (csr) form."""


class SparseRows(Sparse):
    """The row form."""


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:
    """`copyreg._reconstructor` of protocol 0 and 1, for dead objects alone."""
    if not (isinstance(cls, type) and issubclass(cls, Inert)):
        raise RefusedPickle(f"wants to rebuild {cls!r}")
    return cls()


def _encode(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode`, as Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickle("wants to encode what is no latin-1 text")
    return text.encode("latin-1")


def _numpy(name: str) -> Any:
    """numpy's rebuilding functions, where this numpy keeps them."""
    core = np._core if hasattr(np, "_core") else np.core
    return getattr(core.numeric if name == "_frombuffer" else core.multiarray, name)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("_codecs", "encode"): _encode,
    ("chumpy.ch", "Ch"): Chumpy,
    ("chumpy", "Ch"): Chumpy,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): Inert,
    ("torch.storage", "_load_from_bytes"): Inert,
    **{(module, "object"): object for module in ("__builtin__", "builtins")},
    **{(module, "set"): set for module in ("__builtin__", "builtins")},
    **{(f"scipy.sparse.{m}", "csc_matrix"): Sparse for m in ("csc", "_csc")},
    **{(f"scipy.sparse.{m}", "csr_matrix"): SparseRows for m in ("csr", "_csr")},
    **{
        (f"numpy.{core}.multiarray", name): _numpy(name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _numpy("_frombuffer") for core in ("core", "_core")},
}


class Unpickler(pickle.Unpickler):
    """Knows the allowed names only."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedPickle(
                f"names {module}.{name}, which is not on the list of what may be used"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedPickle("refers to objects outside the file")


def load(file: IO[bytes]) -> dict[str, Any]:
    """The pickled dict (bare, or in an npy file's object array)."""
    if file.read(6) == b"\x93NUMPY":
        file.seek(0)
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in reader or not reader[version](file)[2].hasobject:
            raise RefusedPickle("is an npy file without a dict")
    else:
        file.seek(0)
    try:
        value = Unpickler(file, encoding="latin1").load()
    except RefusedPickle:
        raise
    except Exception as error:  # whatever a damaged stream stumbles over
        raise RefusedPickle(f"is not a whole pickle ({type(error).__name__}: {error})") from None
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, dict):
        raise RefusedPickle(f"holds a {type(value).__name__}, not a dict")
    return value


def numbers(value: Any) -> np.ndarray:
    """The plain array that a value stands for."""
    if isinstance(value, Chumpy):
        value = value.state.get("x", value.given[0] if value.given else None)
    if isinstance(value, Sparse):
        return _dense(value)
    if isinstance(value, Inert):
        raise RefusedPickle("needs a package that is not at hand")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or type(array) is not np.ndarray:
        raise RefusedPickle(f"holds {array.dtype}, not numbers")
    return np.ascontiguousarray(array)


def _dense(matrix: Sparse) -> np.ndarray:
    parts = [np.asarray(matrix.state.get(name)) for name in ("data", "indices", "indptr")]
    data, indices, starts = parts
    shape: Any = matrix.state.get("_shape", matrix.state.get("shape"))
    if data.dtype.kind not in "fiu" or any(
        p.dtype.kind not in "iu" or p.ndim != 1 for p in (indices, starts)
    ):
        raise RefusedPickle("has a sparse matrix that is not made of numbers")
    rows, columns = (int(size) for size in shape)
    outer, inner = (rows, columns) if isinstance(matrix, SparseRows) else (columns, rows)
    counts = np.diff(starts)
    if not 0 < rows * columns <= _MOST_NUMBERS or len(starts) != outer + 1 or (counts < 0).any():
        raise RefusedPickle("has a sparse matrix that does not fit its shape")
    if starts[0] != 0 or starts[-1] != len(data) or len(indices) != len(data):
        raise RefusedPickle("has a sparse matrix that does not fit its shape")
    if len(indices) and not (indices.min() >= 0 and indices.max() < inner):
        raise RefusedPickle("has a sparse matrix with entries outside its shape")
    dense = np.zeros((outer, inner), np.float64)
    np.add.at(dense, (np.repeat(np.arange(outer), counts), indices), data)
    return dense if isinstance(matrix, SparseRows) else dense.T


def extract(value: dict[str, Any], keys: list[str]) -> dict[str, np.ndarray]:
    """Arrays under those of the keys that are there."""
    arrays = {}
    for key in keys:
        if key in value:
            try:
                arrays[key] = numbers(value[key])
            except RefusedPickle as error:
                raise RefusedPickle(f"{key} {error}") from None
    return arrays


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(_MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def main(source: str, target: str, *keys: str) -> int:
    """Returns the exit code."""
    _limit_memory()
    try:
        with open(source, "rb") as file:
            arrays = extract(load(file), list(keys))
    except (RefusedPickle, OSError, ValueError, TypeError, MemoryError) as error:
        print(" ".join(f"{error or type(error).__name__}".split()), file=sys.stderr)
        return REFUSED
    np.savez(target, **arrays)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
