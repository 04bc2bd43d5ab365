"""Final weights as one `.npz`: flat names, no pickled objects, a digest over everything, reproducible
bytes."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from talkjax.errors import InputError

_HEADER = "__header__"
_FORMAT_VERSION = 1


def save_params(
    path: str | os.PathLike[str], tree: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> str:
    """Writes nested dicts of arrays as `a/b/c` entries; equal input gives equal bytes.

    Args:
      path: ends in `.npz`; replaced at once when whole, its folder made if missing.
      tree: nested mappings with string keys (no `/`, none empty) and arrays as leaves; bfloat16 allowed.
      metadata: anything JSON can hold.

    Returns:
      The digest (sha256 hex) over names, types, shapes, values and metadata.
    """
    arrays = {name: np.asarray(jax.device_get(leaf)) for name, leaf in _flatten(tree, "").items()}
    dtypes = {name: str(array.dtype) for name, array in arrays.items()}
    digest = _digest(arrays, dtypes, dict(metadata or {}))
    header = {
        "format_version": _FORMAT_VERSION,
        "metadata": dict(metadata or {}),
        "dtypes": dtypes,
        "sha256": digest,
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            _write(archive, _HEADER, np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8))
            for name, array in arrays.items():
                _write(archive, name, _storable(array))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def load_params(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save_params` wrote: `(tree of numpy arrays, metadata)`.

    Raises:
      InputError: code `weights_missing` or `weights_damaged`.
    """
    if not Path(path).is_file():
        raise InputError(f"no weights at {path}", expected="a .npz file of talkjax", code="weights_missing")
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive[_HEADER].tobytes())
            names = [name for name in archive.files if name != _HEADER]
            if header["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"format version {header['format_version']}")
            if sorted(names) != sorted(header["dtypes"]):
                raise ValueError("entries are missing or were added")
            arrays = {name: archive[name].view(_dtype(header["dtypes"][name])) for name in header["dtypes"]}
        if _digest(arrays, header["dtypes"], header["metadata"]) != header["sha256"]:
            raise ValueError("contents differ from their sha256")
    # Damage shows as almost any exception of zipfile, numpy and json.
    except Exception as error:
        raise InputError(
            f"the weights {path} are damaged: {error}",
            expected="an unchanged .npz file of talkjax",
            fix="fetch the file again, or run the stage that writes it",
            code="weights_damaged",
        ) from error
    return nested(arrays), header["metadata"]


def _flatten(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key in sorted(tree):
        if not isinstance(key, str) or not key or "/" in key or key == _HEADER:
            raise ValueError(f"weights cannot be named {key!r}")
        value = tree[key]
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from names like `a/b/c`; what was a tuple comes back as a dict with the keys 0, 1, ..."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array
    return tree


def _digest(arrays: Mapping[str, np.ndarray], dtypes: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"\n{name} {dtypes[name]} {list(array.shape)}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    """Types that numpy's file format does not know (bfloat16) go as unsigned integers of their size."""
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _dtype(name: str) -> np.dtype:
    return np.dtype(jax.numpy.bfloat16) if name == "bfloat16" else np.dtype(name)


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    # ZipInfo's fixed date makes the bytes reproducible.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
