"""Checkpoints that a resumed run can trust.

Orbax stores the arrays; beside them lies our own manifest with a sha256 per leaf, shapes, types, the
config's hash and a format version, because the storage alone notices neither one flipped bit nor another
dtype (reliability.md §0.4-5). A checkpoint is written under a temporary name and renamed when whole.
`restore_checkpoint` takes the newest one that proves whole and falls back to older ones; where checkpoints
exist but none is whole it stops: it never starts over silently, and never returns data of another shape,
type or configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from talkjax.errors import InputError
from talkjax.train.params_file import load_params as load_params
from talkjax.train.params_file import save_params as save_params

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_ARRAYS = "arrays"
_NAME = re.compile(r"step_(\d{8})")
_TIMEOUT_S = 600


class DamagedCheckpointError(Exception):
    """A checkpoint whose files are missing, cut or changed; an older one may still be whole."""


def save_checkpoint(
    folder: str | os.PathLike[str], step: int, state: Any, *, config_hash: str, keep: int = 2
) -> Path:
    """Writes `state` as the checkpoint of `step`; afterwards only the `keep` newest remain.

    Args:
      folder: all checkpoints of one run; made if missing. One run at a time: there is no lock here.
      step: number of finished steps; an existing checkpoint of that step is replaced.
      state: pytree of arrays, typed PRNG keys and Python numbers, on this process's devices.
      config_hash: identifies the configuration; restoring under another one is refused.
      keep: how many to keep, at least 1.

    Raises:
      OSError: when the folder cannot be written (at once, before any work).
    """
    root = Path(folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(root)
    final = root / f"step_{step:08d}"
    temporary = root / f"tmp-{os.getpid()}-{final.name}"
    temporary.mkdir()
    arrays, leaves = _flatten(state)
    with _checkpointer() as checkpointer:
        checkpointer.save(temporary / _ARRAYS, arrays)
        checkpointer.wait_until_finished()
    manifest = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "config_hash": config_hash,
        "leaves": leaves,
    }
    write_manifest(temporary, manifest)
    sync_tree(temporary)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    sync_path(root)
    for old in checkpoint_steps(root)[: -max(keep, 1)]:
        shutil.rmtree(root / f"step_{old:08d}", ignore_errors=True)
    return final


def checkpoint_steps(folder: str | os.PathLike[str]) -> list[int]:
    """Steps that have a finished folder, ascending; says nothing about whether they are whole."""
    root = Path(folder)
    if not root.is_dir():
        return []
    return sorted(int(m.group(1)) for p in root.iterdir() if (m := _NAME.fullmatch(p.name)) and p.is_dir())


def restore_checkpoint(
    folder: str | os.PathLike[str], like: Any, *, config_hash: str
) -> tuple[Any, int] | None:
    """The newest whole checkpoint, as `(state, step)`; None when the folder holds none at all.

    Args:
      folder: as given to `save_checkpoint`.
      like: pytree of arrays or `jax.ShapeDtypeStruct`s with the structure, shapes and types expected.
      config_hash: of the present configuration.

    Raises:
      InputError: code `checkpoint_mismatch` when a whole checkpoint belongs to another configuration,
        structure, shape or type; code `checkpoint_damaged` when there are checkpoints and none is whole.
    """
    root = Path(folder).absolute()
    steps = checkpoint_steps(root)
    problems = []
    for step in reversed(steps):
        path = root / f"step_{step:08d}"
        try:
            return _restore_one(path, step, like, config_hash), step
        except DamagedCheckpointError as error:
            problems.append(f"{path.name}: {error}")
            logging.warning("Checkpoint %s is damaged (%s); trying an older one.", path, error)
    if problems:
        raise InputError(
            f"none of the {len(steps)} checkpoints in {root} is whole ({problems[0]})",
            expected="at least one undamaged checkpoint to resume from",
            fix=f"delete the folder {root} to start over, or restore it from a backup",
            code="checkpoint_damaged",
        )
    return None


def _restore_one(path: Path, step: int, like: Any, config_hash: str) -> Any:
    manifest = read_manifest(path, step)
    if manifest["format_version"] != FORMAT_VERSION:
        raise _mismatch(path, f"format version {manifest['format_version']}", f"{FORMAT_VERSION}")
    if manifest["config_hash"] != config_hash:
        raise _mismatch(path, f"configuration {manifest['config_hash']}", config_hash)
    expected = {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(like)}
    leaves = manifest["leaves"]
    names = [leaf["name"] for leaf in leaves]
    if names != list(expected):
        odd = sorted(set(names) ^ set(expected))
        raise _mismatch(path, f"other leaves ({', '.join(odd[:4]) or 'order'})", "the present state's")
    for leaf in leaves:
        want = _describe(expected[leaf["name"]])
        got = {k: leaf[k] for k in ("shape", "dtype", "kind")}
        if want != got:
            raise _mismatch(path, f"{leaf['name']} {_show(got)}", _show(want))
    stored = _read_arrays(path, leaves)
    values = [_to_leaf(stored[leaf["id"]], expected[leaf["name"]]) for leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Writes a checkpoint's manifest, headed by its own digest."""
    text = json.dumps(manifest, indent=1)
    (path / _MANIFEST).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


def read_manifest(path: Path, step: int) -> dict[str, Any]:
    """The manifest of the checkpoint of `step`.

    Raises:
      DamagedCheckpointError: missing, changed, or of another step.
    """
    try:
        digest, text = (path / _MANIFEST).read_text().split("\n", 1)
        text = text.removesuffix("\n")
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise DamagedCheckpointError("the manifest was changed")
        manifest = json.loads(text)
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(f"no readable manifest: {error}") from error
    if manifest["step"] != step:
        raise DamagedCheckpointError(f"holds step {manifest['step']}")
    return manifest


def _read_arrays(path: Path, leaves: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint on the host, each checked against its digest."""
    abstract = {
        leaf["id"]: np.empty(tuple(leaf["stored_shape"]), np.dtype(leaf["stored_dtype"])) for leaf in leaves
    }
    empty = {name: array for name, array in abstract.items() if not array.size}
    abstract = {name: array for name, array in abstract.items() if array.size}
    try:
        with _checkpointer() as checkpointer:
            stored = checkpointer.restore(path / _ARRAYS, abstract)
    # Orbax reports damaged files by bare Exceptions, among others (reliability.md §2).
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0][:200]
        raise DamagedCheckpointError(f"{type(error).__name__}: {first_line}") from error
    arrays = {}
    for leaf in leaves:
        array = np.asarray({**stored, **empty}[leaf["id"]])
        if list(array.shape) != leaf["stored_shape"] or str(array.dtype) != leaf["stored_dtype"]:
            raise DamagedCheckpointError(f"{leaf['name']} came back as {array.dtype}{list(array.shape)}")
        if _digest(array) != leaf["sha256"]:
            raise DamagedCheckpointError(f"{leaf['name']} differs from its sha256")
        arrays[leaf["id"]] = array
    return arrays


def _flatten(state: Any) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Host arrays by id, and the manifest's line for each leaf."""
    arrays, leaves = {}, []
    for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(state)):
        description = _describe(leaf)
        raw = jax.random.key_data(leaf) if description["kind"].startswith("key") else leaf
        array = np.ascontiguousarray(np.asarray(jax.device_get(raw))).reshape(np.shape(raw))
        identifier = f"{i:06d}"
        if array.size:  # Orbax refuses empty arrays; their shape and type say all
            arrays[identifier] = array
        leaves.append(
            {
                "name": jax.tree_util.keystr(path),
                "id": identifier,
                **description,
                "stored_shape": list(array.shape),
                "stored_dtype": str(array.dtype),
                "sha256": _digest(array),
            }
        )
    return arrays, leaves


def _describe(leaf: Any) -> dict[str, Any]:
    """Shape, dtype and kind (array, Python number, or PRNG key with its implementation) of a leaf."""
    if isinstance(leaf, bool | int | float):
        return {"shape": [], "dtype": type(leaf).__name__, "kind": "python"}
    dtype = leaf.dtype
    kind = "key" if jnp.issubdtype(dtype, jax.dtypes.prng_key) else "array"
    return {"shape": list(leaf.shape), "dtype": str(dtype), "kind": kind}


def _to_leaf(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, bool | int | float):
        return type(like)(array[()])
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=_key_implementation(like.dtype))
    # Copied onto the device: a donated buffer must not alias memory that the host still holds.
    return jnp.array(array, copy=True)


def _key_implementation(dtype: Any) -> str:
    """Name of the generator behind a key type (`jax.random.key_impl` wants an array; `like` may be none)."""
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        if jax.random.key(0, impl=name).dtype == dtype:
            return name
    raise ValueError(f"unknown kind of random key {dtype}")


def _show(description: dict[str, Any]) -> str:
    return f"{description['dtype']}{description['shape']}"


def _mismatch(path: Path, found: str, expected: str) -> InputError:
    return InputError(
        f"checkpoint {path} does not fit this run: {found}",
        expected=expected,
        fix="use the settings it was made with, or delete its folder to start over",
        code="checkpoint_mismatch",
    )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _checkpointer() -> ocp.StandardCheckpointer:
    import orbax.checkpoint as ocp  # a fifth of a second, which generating need not wait for

    # Made in the background, directories turn a read-only disk into 5 silent minutes (reliability.md §0.7).
    options = ocp.options.AsyncOptions(timeout_secs=_TIMEOUT_S, create_directories_asynchronously=False)
    return ocp.StandardCheckpointer(async_options=options)


def _remove_leftovers(root: Path) -> None:
    for path in root.glob("tmp-*"):
        logging.warning("Removing %s, left by a run that was killed while saving.", path)
        shutil.rmtree(path, ignore_errors=True)


def sync_tree(root: Path) -> None:
    """Flushes a folder and everything in it to disk."""
    for path in [*root.rglob("*"), root]:
        sync_path(path)


def sync_path(path: Path) -> None:
    """Flushes a file or folder to disk, so that the rename never outlives its contents."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
