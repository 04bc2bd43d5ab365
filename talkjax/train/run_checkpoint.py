"""Checkpoints of a sharded run: written by all hosts together in the background, readable on any topology.

Orbax stores the arrays. Around it: a temporary name that is renamed when everything is on disk; a manifest
with the size and sha256 of every file (one flipped bit restores in silence otherwise, reliability.md §0.4),
the leaves' shapes and types (another type is cast in silence, §0.5), and the configuration. The hosts share
the hashing. What is restored is the newest checkpoint that proves whole on every host; where there are
checkpoints and none is whole, the run ends: it never starts from scratch in silence.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from talkjax.errors import InputError
from talkjax.train.checkpoint import (
    DamagedCheckpointError,
    checkpoint_steps,
    read_manifest,
    sync_path,
    sync_tree,
    write_manifest,
)
from talkjax.train.runtime import all_true, barrier, gathered, is_first, on_every_process

FORMAT_VERSION = 1
_ARRAYS = "arrays"
_TIMEOUT_S = 300
_POLL_S = 0.02
_log = logging.getLogger("talkjax")


class Restored(NamedTuple):
    """A restored state, its step, the facts saved with it, and the newer checkpoints that were passed
    over."""

    state: Any
    step: int
    facts: dict[str, Any]
    damaged: list[str]


class RunCheckpoints:
    """The checkpoints of one run folder. All processes call every method together."""

    def __init__(self, folder: Path, config: dict[str, Any], *, keep: int = 3):
        """Args:
        folder: shared by all hosts; made if missing.
        config: what must be equal for a checkpoint to be continued, as plain JSON data.
        keep: newest ones that stay, at least 1.
        """
        self.folder, self.config, self.keep = folder.absolute(), json.loads(json.dumps(config)), max(keep, 1)
        self._pending: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.options.AsyncOptions(timeout_secs=_TIMEOUT_S, create_directories_asynchronously=False)
        self._checkpointer = ocp.StandardCheckpointer(async_options=options)

    def steps(self) -> list[int]:
        """Steps with a finished folder, ascending."""
        return checkpoint_steps(self.folder)

    def save(self, step: int, state: Any, facts: dict[str, Any]) -> None:
        """Begins to write; returns when the state has been copied off the devices.

        Raises:
          whatever stopped the previous save.
        """
        self.wait()
        temporary = self.folder / f"tmp-step_{step:08d}"
        if is_first():
            for leftover in self.folder.glob("tmp-*"):
                _log.warning("removing %s, left by a run that was killed while saving", leftover.name)
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
        barrier(f"save {step}")
        self._checkpointer.save(temporary / _ARRAYS, _by_id(state))
        manifest = {
            "format_version": FORMAT_VERSION,
            "step": step,
            "config": self.config,
            "facts": facts,
            "leaves": _leaves(state),
        }
        self._pending = threading.Thread(target=self._finish, args=(step, temporary, manifest), daemon=True)
        self._pending.start()

    def wait(self) -> None:
        """Until the last save is committed.

        Raises:
          what stopped it.
        """
        if self._pending is not None:
            self._pending.join()
            self._pending = None
        self.check()

    def check(self) -> None:
        """Raises what stopped a save in the background; InputError `disk_full` where that was the reason."""
        if self._failure is None:
            return
        failure, self._failure = self._failure, None
        text = str(failure)
        full = getattr(failure, "errno", None) == errno.ENOSPC or "RESOURCE_EXHAUSTED" in text
        if full or "No space left" in text:
            raise InputError(
                f"no space left for a checkpoint in {self.folder}"
                f" ({shutil.disk_usage(self.folder).free:,} bytes free)",
                expected=f"room for {self.keep + 1} checkpoints",
                fix="free some space and run the same command again; earlier checkpoints are whole",
                code="disk_full",
            ) from failure
        raise failure

    def _finish(self, step: int, temporary: Path, manifest: dict[str, Any]) -> None:
        try:
            self._checkpointer.wait_until_finished()
            _wait_for(temporary / _ARRAYS)
            me, n = jax.process_index(), jax.process_count()
            shares = [temporary / f"hashes_{k}.json" for k in range(n)]
            _write_whole(shares[me], json.dumps(_hashes(temporary, me, n)))
            final = self.folder / f"step_{step:08d}"
            if me:
                _wait_for(final)
                return
            for share in shares:
                _wait_for(share)
                manifest.setdefault("files", {}).update(json.loads(share.read_text()))
                share.unlink()
            write_manifest(temporary, manifest)
            sync_tree(temporary)
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            sync_path(self.folder)
            for old in self.steps()[: -self.keep]:
                shutil.rmtree(self.folder / f"step_{old:08d}", ignore_errors=True)
        except BaseException as error:
            self._failure = error

    def restore(self, like: Any) -> Restored | None:
        """The newest whole checkpoint, placed as `like` says; None when there is none at all.

        Args:
          like: pytree of `jax.ShapeDtypeStruct` with shardings.

        Raises:
          InputError: `checkpoint_mismatch` (other configuration, with the differences; other leaves),
            `checkpoint_damaged` (some exist, none is whole).
        """
        if is_first():  # process 0 lists the folder for all: they might look at different times
            steps = np.array(self.steps()[-64:], np.int64)
            listed = np.pad(steps, (64 - len(steps), 0), constant_values=-1)
        else:
            listed = np.full(64, -1, np.int64)
        damaged: list[str] = []
        for step in [int(s) for s in gathered(listed)[0] if s >= 0][::-1]:
            path = self.folder / f"step_{step:08d}"
            manifest, problem = self._whole(path, step)
            if all_true(not problem):
                self._require_fit(path, manifest, like)
                return Restored(self._read(path, like), step, manifest["facts"], damaged)
            damaged.append(f"{path.name}: {problem or 'damaged as another host sees it'}")
            _log.warning("checkpoint %s is damaged (%s); trying an older one", path.name, damaged[-1])
        if damaged:
            raise on_every_process(
                InputError(
                    f"none of the {len(damaged)} checkpoints in {self.folder} is whole ({damaged[0]})",
                    expected="at least one undamaged checkpoint to resume from",
                    fix="restore the folder from a backup, or give another --run_id to start over",
                    code="checkpoint_damaged",
                )
            )
        return None

    def _whole(self, path: Path, step: int) -> tuple[dict[str, Any], str]:
        """The manifest, and what this process found wrong with its share of the files ("" for nothing)."""
        try:
            manifest = read_manifest(path, step)
            check_files(path, manifest, jax.process_index(), jax.process_count())
            return manifest, ""
        except DamagedCheckpointError as error:
            return {}, str(error)

    def _require_fit(self, path: Path, manifest: dict[str, Any], like: Any) -> None:
        problem = ""
        if manifest["format_version"] != FORMAT_VERSION:
            problem = f"format version {manifest['format_version']} instead of {FORMAT_VERSION}"
        elif manifest["config"] != self.config:
            problem = "; ".join(_differences(manifest["config"], self.config))
        elif manifest["leaves"] != _leaves(like):
            old, new = ({leaf["name"]: leaf for leaf in x} for x in (manifest["leaves"], _leaves(like)))
            problem = "; ".join(_differences(old, new)[:4])
        if problem:
            raise on_every_process(
                InputError(
                    f"checkpoint {path} does not fit this run (there -> here): {problem}",
                    expected="the configuration it was made with",
                    fix="use its settings, or give another --run_id to start over",
                    code="checkpoint_mismatch",
                )
            )

    def _read(self, path: Path, like: Any) -> Any:
        stored = self._checkpointer.restore(path / _ARRAYS, _by_id(like))
        return jax.tree.unflatten(jax.tree.structure(like), [stored[key] for key in sorted(stored)])


def check_files(path: Path, manifest: dict[str, Any], share: int = 0, shares: int = 1) -> None:
    """Compares a checkpoint's files with its manifest; of the contents, part `share` of `shares`.

    Raises:
      DamagedCheckpointError: a file is missing, new, cut or changed.
    """
    files = manifest["files"]
    there = set(_names(path))
    if there != set(files):
        raise DamagedCheckpointError(f"files missing or new: {', '.join(sorted(there ^ set(files))[:3])}")
    for name in sorted(files)[share::shares]:
        size, digest = files[name]
        got = (path / name).stat().st_size
        if got != size:
            raise DamagedCheckpointError(f"{name} has {got} bytes instead of {size}")
        if _sha256(path / name) != digest:
            raise DamagedCheckpointError(f"{name} differs from its sha256")


def _by_id(state: Any) -> dict[str, Any]:
    """Leaves under plain names: stored trees must not depend on class names."""
    return {f"{k:06d}": leaf for k, leaf in enumerate(jax.tree.leaves(state))}


def _leaves(state: Any) -> list[dict[str, Any]]:
    return [
        {"name": jax.tree_util.keystr(path), "shape": list(leaf.shape), "dtype": str(leaf.dtype)}
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    ]


def _names(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in (path / _ARRAYS).rglob("*") if p.is_file())


def _hashes(path: Path, share: int, shares: int) -> dict[str, tuple[int, str]]:
    return {
        name: ((path / name).stat().st_size, _sha256(path / name)) for name in _names(path)[share::shares]
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


def _wait_for(path: Path) -> None:
    """Another process makes it; on a shared disk its appearance is the message.

    Raises:
      TimeoutError.
    """
    end = time.monotonic() + _TIMEOUT_S
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not appear within {_TIMEOUT_S} s")
        with contextlib.suppress(OSError):
            os.scandir(path.parent).close()  # network file systems look anew
        time.sleep(_POLL_S)


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """`name old -> new` for every entry that differs."""
    nothing = "(nothing)"
    return [
        f"{name} {there.get(name, nothing)} -> {here.get(name, nothing)}"
        for name in sorted({*there, *here})
        if there.get(name, nothing) != here.get(name, nothing)
    ]
