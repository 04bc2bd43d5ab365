"""The identity store: one private folder per person, with `identity.json` and the cached stages.

Layout of `<identities_dir>/<name>/` (mode 0700): `identity.json` (this module), `.lock`, one folder per
stage (`stage_cache.py`), `evaluation/`. Everything known about a person's face is inside, so that deleting
the folder deletes it; what was written elsewhere is listed in `identity.json` under `outputs`.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from talkjax.config import config_hash
from talkjax.errors import InputError
from talkjax.track import stage_cache
from talkjax.track.durable import file_sha256, write_json
from talkjax.track.identity_record import (
    NAME_RULE,
    NO_CONSENT,
    RECORD_FILE,
    IdentityRecord,
    identities_root,
    identity_folder,
    read_record,
)
from talkjax.track.lock import file_lock

LOCK_FILE = ".lock"
_RECORD_LOCK_FILE = ".record.lock"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Identity:
    """One person: a folder, its record and its stages. Make one with `create` or `open`."""

    def __init__(self, root: Path):
        self.root = root
        self.name = root.name
        self._held: list[bool] = []  # locks held by this object, outermost first; True: shared

    @classmethod
    def create(cls, name: str, identities_dir: str | os.PathLike[str] | None = None) -> Identity:
        """Opens the identity, making its folder (mode 0700) and an empty record where there is none."""
        folder = identity_folder(name, identities_dir)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)  # also for a folder that was made or copied with other rights
            identity = cls(folder)
            with identity.lock(shared=True):
                if not (folder / RECORD_FILE).exists():
                    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                    write_json(folder / RECORD_FILE, asdict(IdentityRecord(name=name, created=now)))
        except OSError as error:
            raise InputError(
                f"identity folder {folder} cannot be written: {error.strerror}",
                fix="choose another --identities_dir",
                code="read_only",
            ) from None
        _ = identity.record
        return identity

    @classmethod
    def open(cls, name: str, identities_dir: str | os.PathLike[str] | None = None) -> Identity:
        """Opens an existing identity; InputError (code `no_identity`) says how to make one."""
        folder = identity_folder(name, identities_dir)
        if not (folder / RECORD_FILE).is_file():
            raise InputError(
                f"there is no identity {name!r} in {folder.parent}",
                fix=f"talkjax prepare CLIP --identity={name}",
                code="no_identity",
            )
        identity = cls(folder)
        _ = identity.record
        return identity

    @property
    def record(self) -> IdentityRecord:
        """`identity.json` as it is now; change it with `update`."""
        return read_record(self.root)

    def update(self, change: Callable[[IdentityRecord], None]) -> IdentityRecord:
        """Applies `change` to the record and writes it in one step; safe beside other processes."""
        with self.lock(shared=True), file_lock(self.root / _RECORD_LOCK_FILE, wait=True):
            record = self.record
            change(record)
            write_json(self.root / RECORD_FILE, asdict(record))
        return record

    @contextlib.contextmanager
    def lock(self, *, shared: bool = False) -> Iterator[None]:
        """Keeps other processes off this identity; InputError (exit 2) when one is at work.

        Args:
          shared: allow other shared holders (several `generate` at once); stages cannot be built then.

        Nested use is free, except an exclusive lock inside a shared one (RuntimeError: a bug).
        """
        if self._held:
            if self._held[0] and not shared:
                raise RuntimeError("an exclusive lock was asked for inside a shared one")
            yield
            return
        with file_lock(self.root / LOCK_FILE, shared=shared, what=f"identity {self.name!r}"):
            self._held.append(shared)
            try:
                if not shared:
                    stage_cache.remove_leftovers(self.root)
                yield
            finally:
                self._held.pop()

    def run_stage(
        self,
        name: str,
        *,
        inputs: Mapping[str, str],
        config: Any,
        version: int,
        build: Callable[[Path], None],
        resumable: bool = False,
    ) -> Path:
        """Returns the folder of a finished stage, building it only if its content key changed.

        Args:
          name: lower-case stage name, also the folder's.
          inputs: what the stage reads, name -> digest: `file_sha256` of files, `stage_key` of earlier stages.
          config: dataclass (or plain data) of all settings that change the result.
          version: raise it when the code of the stage changes its result.
          build: fills the folder it gets; see `stage_cache.run_stage`.
          resumable: an interrupted `build` finds its own files again.
        """
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(f"stage name {name!r}: expected lower-case letters, digits and '_'")
        key = stage_cache.compute_key(name, inputs, config, version)
        committed = stage_cache.load_stage(self.root / name)
        if committed is not None and committed["key"] == key:
            return self.root / name
        with self.lock():
            try:
                folder = stage_cache.run_stage(self.root, name, key, build, resumable)
            except OSError as error:
                if error.errno not in (28, 30, 122):  # no space, read-only, quota
                    raise
                raise InputError(
                    f"stage {name} cannot write to {self.root}: {error.strerror}",
                    fix="free some space, or choose another --identities_dir; finished stages are kept",
                    code="cannot_write",
                ) from None
            stage = stage_cache.load_stage(folder) or {}
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

            def note(record: IdentityRecord) -> None:
                record.stages[name] = {"key": key, "seconds": stage.get("seconds", 0.0), "finished": now}
                record.configs[name] = config_hash(config)

            self.update(note)
        return folder

    def has_stage(self, name: str) -> bool:
        """Whether a stage is committed and whole (by its files' sizes)."""
        return stage_cache.load_stage(self.root / name) is not None

    def stage_key(self, name: str) -> str:
        """Key of a committed stage, to be an input of later ones; InputError when it is not there."""
        record = stage_cache.load_stage(self.root / name)
        if record is None:
            raise InputError(f"identity {self.name!r} has no finished stage {name!r}", code="missing_stage")
        return str(record["key"])

    def require_stage(self, name: str, *, verb: str) -> Path:
        """The folder of a finished, undamaged stage; InputError names the verb that makes it.

        Reads all its files once and compares their sha256: a flipped bit would otherwise give other weights.
        """
        folder = self.root / name
        again = f"talkjax {verb} --identity={self.name}"
        if not self.has_stage(name):
            raise InputError(
                f"identity {self.name!r} is not ready: stage {name!r} is missing",
                fix=again,
                code="missing_stage",
            )
        if damaged := stage_cache.damaged_files(folder):
            raise InputError(
                f"identity {self.name!r}: {folder / damaged[0]} is damaged",
                fix=f"delete {folder}, then {again}",
                code="damaged_stage",
            )
        return folder

    def stage_files(self, name: str) -> dict[str, str]:
        """File name -> sha256 of a committed stage (for sidecars)."""
        record = stage_cache.load_stage(self.root / name)
        return {} if record is None else {key: entry["sha256"] for key, entry in record["files"].items()}

    def set_source(self, clip: Path) -> str:
        """Records the clip (name, size, sha256) and returns its sha256.

        Consent that was given for another clip does not hold for this one: it is forgotten.
        """
        sha256, size = file_sha256(clip), clip.stat().st_size

        def note(record: IdentityRecord) -> None:
            if record.source.get("sha256", sha256) != sha256:
                record.consent = dict(NO_CONSENT)
            record.source = {"file": clip.name, "sha256": sha256, "size": size}

        self.update(note)
        return sha256

    def set_consent(self, entry: dict[str, Any]) -> None:
        """Records the consent that `read_consent` made."""

        def note(record: IdentityRecord) -> None:
            record.consent = entry

        self.update(note)

    def add_output(self, path: Path) -> None:
        """Remembers a file made from this identity outside its folder, for `delete` to name."""

        def note(record: IdentityRecord) -> None:
            if (text := str(path.absolute())) not in record.outputs:
                record.outputs.append(text)

        self.update(note)


def list_identities(identities_dir: str | os.PathLike[str] | None = None) -> list[Identity]:
    """All identities under the root, by name; none when the root does not exist."""
    root = identities_root(identities_dir)
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [
        Identity(folder)
        for folder in folders
        if NAME_RULE.fullmatch(folder.name) and not folder.is_symlink() and (folder / RECORD_FILE).is_file()
    ]


def delete_identity(name: str, identities_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Deletes an identity with everything in its folder, finished or not.

    Returns:
      Paths outside the folder that were made from this identity and still exist.

    Raises:
      InputError: no such identity, or another process is working on it.

    A kill on the way leaves `identity.json`, so the same command can be repeated; a damaged record does
    not prevent deletion.
    """
    folder = identity_folder(name, identities_dir)
    if not (folder / RECORD_FILE).exists():
        raise InputError(
            f"there is no identity {name!r} in {folder.parent}",
            fix="talkjax identity list",
            code="no_identity",
        )
    identity = Identity(folder)
    with identity.lock():
        try:
            outputs = identity.record.outputs
        except (InputError, TypeError):
            outputs = []
        try:
            _remove_content(folder)
        except OSError as error:
            raise InputError(
                f"{error.filename} cannot be deleted: {error.strerror}", code="read_only"
            ) from None
    beside = [f"{path}.json" for path in outputs]
    return [path for path in [*outputs, *beside] if Path(path).exists()]


def _remove_content(folder: Path) -> None:
    """Empties and removes an identity folder, the record and the locks last."""
    last = [folder / RECORD_FILE, folder / _RECORD_LOCK_FILE, folder / LOCK_FILE]
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path not in last:
            path.unlink()
    for path in last:
        path.unlink(missing_ok=True)
    folder.rmdir()
