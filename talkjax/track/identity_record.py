"""What is known about an identity (`identity.json`), and which names and folders identities may have."""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from talkjax.errors import InputError
from talkjax.track.durable import file_sha256, read_json

SCHEMA_VERSION = 1
RECORD_FILE = "identity.json"
NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NO_CONSENT = {"status": "not recorded", "statement": ""}
_SELF_STATEMENT = "The person who prepared this identity states that it is their own face and voice."
_MAX_STATEMENT_BYTES = 64 * 1024


@dataclass
class IdentityRecord:
    """What `identity.json` holds.

    Attributes:
      source: the clip: {file, sha256, size}; the file's name only, no path.
      fps: frames per second of everything derived (25).
      size: [width, height] of the clip in pixels, after rotation.
      train_frames: frames 0..N-1 train; n_frames: all of them.
      crop: [x, y, width, height] in pixels of the square face crop, where one is used.
      sound_offset: what `infer/sound_offset.py` found, {} before; `repair` frames are taken out everywhere.
      stages: stage name -> {key, seconds, finished}.
      configs: stage name -> config hash.
      licences: asset name -> licence.
      consent: {status: "recorded" | "not recorded", statement, date[, file, sha256]}.
      outputs: paths of videos made from this identity, outside its folder.
    """

    name: str
    schema_version: int = SCHEMA_VERSION
    created: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    fps: float = 25.0
    size: list[int] = field(default_factory=list)
    train_frames: int = 0
    n_frames: int = 0
    crop: list[float] = field(default_factory=list)
    sound_offset: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    consent: dict[str, Any] = field(default_factory=lambda: dict(NO_CONSENT))
    outputs: list[str] = field(default_factory=list)

    @property
    def sound_repair(self) -> float:
        """Frames by which the clip's sound is advanced before anything learns from it or is compared with
        it."""
        return float(self.sound_offset.get("repair", 0.0))


def identities_root(identities_dir: str | os.PathLike[str] | None = None) -> Path:
    """Folder of all identities: the argument, else TALKJAX_IDENTITIES, else ./identities."""
    return Path(identities_dir or os.environ.get("TALKJAX_IDENTITIES") or "identities").absolute()


def identity_folder(name: str, identities_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a name, whether or not it exists; InputError for a name that could leave the root."""
    if not isinstance(name, str) or not NAME_RULE.fullmatch(name):
        raise InputError(
            f"identity name {name!r} is not usable",
            expected="1-64 letters, digits, '.', '_' or '-', the first a letter or digit",
            code="bad_identity_name",
        )
    root = identities_root(identities_dir)
    folder = root / name
    if folder.is_symlink():
        raise InputError(
            f"identity folder {folder} is a symbolic link",
            fix="move the real folder there, or point --identities_dir at its parent",
            code="symlinked_identity",
        )
    if not folder.resolve().is_relative_to(root.resolve()):
        raise InputError(f"identity {name!r} lies outside {root}", code="bad_identity_name")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", expected="an identity folder", code="bad_identity_name")
    return folder


def read_consent(consent: str | os.PathLike[str]) -> dict[str, Any]:
    """What to record for `--consent`: `"self"`, or a text file, whose content is kept with its sha256.

    Raises:
      InputError: no such file, not UTF-8 text, empty, or larger than 64 KiB.
    """
    entry: dict[str, Any] = {"status": "recorded", "statement": _SELF_STATEMENT}
    if consent != "self":
        path = Path(consent)
        try:
            with open(path, "rb") as f:
                raw = f.read(_MAX_STATEMENT_BYTES + 1)
            entry |= {"statement": raw.decode("utf-8"), "file": path.name, "sha256": file_sha256(path)}
        except (OSError, ValueError) as error:
            raise InputError(
                f"--consent={consent} cannot be read: {error}",
                expected="'self', or a UTF-8 text file",
                code="bad_consent",
            ) from None
        if not entry["statement"].strip() or len(raw) > _MAX_STATEMENT_BYTES:
            raise InputError(f"--consent={consent} is empty or larger than 64 KiB", code="bad_consent")
    entry["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    return entry


def read_record(folder: Path) -> IdentityRecord:
    """The record of an identity folder; InputError when it is damaged or of another schema version."""
    data = read_json(folder / RECORD_FILE)
    if data.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"identity {folder.name!r} has schema version {data.get('schema_version')}",
            expected=f"version {SCHEMA_VERSION}",
            fix=f"talkjax identity delete {folder.name}, then prepare it again",
            code="schema_version",
        )
    known = {f.name for f in fields(IdentityRecord)}
    return IdentityRecord(**{"name": folder.name} | {key: data[key] for key in known & set(data)})
