"""The container: a zip file whose manifest names every member with size and sha256.

Reading trusts nothing: names, sizes and digests are compared before a member's bytes are used, and no more
bytes are unpacked than the manifest says. Digests tell damage and swapped members; they do not tell who
made a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Mapping
from typing import Any

from talkjax.errors import InputError
from talkjax.infer.bundle.layout import FORMAT, FORMAT_VERSION
from talkjax.media.container import Path, check_file, readable_name
from talkjax.media.writer import check_output, replacing

SUFFIX = ".talkjax"
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 << 20
MAX_PACKED = 256 << 20
"""Bytes that all compressed members may unpack to; large ones are stored as they are."""
MAX_MEMBERS = 200_000
_COMMENT = b"talkjax manifest sha256 "
_STORED_SUFFIXES = (".jpg", ".stored")


def write_archive(
    path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes], *, overwrite: bool = False
) -> str:
    """Writes the file under a temporary name, then renames it; equal input gives equal bytes.

    Args:
      manifest: anything JSON can hold; format, version and members are added.
      members: name -> bytes. Compressed, unless large or pictures.

    Returns:
      The manifest's sha256, which stands for the whole content.

    Raises:
      InputError: codes of `check_output`, write_failed.
    """
    full = check_output(path, overwrite=overwrite, suffixes=(SUFFIX,))
    listed = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in members.items()}
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, "members": listed}
    text = json.dumps(head, indent=1, allow_nan=False, ensure_ascii=False).encode()
    digest = _sha256(text)
    with replacing(path, full) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, data in {MANIFEST: text, **members}.items():
                entry = zipfile.ZipInfo(name)  # its fixed date makes the bytes reproducible
                packed = len(data) < 1 << 22 and not name.endswith(_STORED_SUFFIXES)
                entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                archive.writestr(entry, data)
            archive.comment = _COMMENT + digest.encode()
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
    return digest


class Archive:
    """An opened file whose manifest was checked; `read` checks each member. Threads may share it."""

    def __init__(self, path: Path):
        """Opens and checks names and sizes; `verify` then checks all contents.

        Raises:
          InputError: codes of `check_file`; not_an_export, damaged_export, newer_export.
        """
        self.name = readable_name(path)
        full, self._lock = check_file(path), threading.Lock()
        try:
            self._zip = zipfile.ZipFile(full)
        except Exception as error:  # damage shows as almost any exception
            raise self._foreign(error) from error
        try:
            self.manifest = self._read_manifest()
            self._check_members(os.path.getsize(full))
        except BaseException:
            self._zip.close()
            raise

    def close(self) -> None:
        """Ends reading."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """A member's bytes, compared with the manifest.

        Raises:
          InputError: code damaged_export.
        """
        entry = self.manifest["members"].get(name)
        if entry is None:
            raise self._damaged(f"{name} is missing")
        data = self._bytes(name, entry["bytes"])
        if _sha256(data) != entry["sha256"]:
            raise self._damaged(f"{name} is not what its sha256 says")
        return data

    def names(self, folder: str = "") -> list[str]:
        """Members whose names begin with `folder`."""
        return [name for name in self.manifest["members"] if name.startswith(folder)]

    def verify(self) -> None:
        """Compares every member with its digest.

        Raises:
          InputError: code damaged_export.
        """
        for name in self.names():
            self.read(name)

    def _bytes(self, name: str, size: int) -> bytes:
        try:
            with self._lock, self._zip.open(name) as file:
                data = file.read(size + 1)
        except Exception as error:
            raise self._damaged(f"{name}: {error}") from error
        if len(data) != size:
            raise self._damaged(f"{name} has {len(data)} bytes or more instead of {size}")
        return data

    def _read_manifest(self) -> dict[str, Any]:
        listed = {entry.filename: entry for entry in self._zip.infolist()}
        if MANIFEST not in listed:
            raise self._foreign("it has no manifest")
        if listed[MANIFEST].file_size > MAX_MANIFEST:
            raise self._damaged("its manifest is too large")
        text = self._bytes(MANIFEST, listed[MANIFEST].file_size)
        try:
            manifest = json.loads(text)
            kind, version = manifest["format"], manifest["format_version"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._foreign("its manifest is another one") from error
        if kind != FORMAT or not isinstance(version, int):
            raise self._foreign(f"its format is {str(kind)[:40]!r}")
        if version > FORMAT_VERSION:
            raise InputError(
                f"{self.name} is of format {version}",
                expected=f"at most {FORMAT_VERSION}",
                fix="install a newer talkjax",
                code="newer_export",
            )
        if self._zip.comment != _COMMENT + _sha256(text).encode():
            raise self._damaged("its manifest is not what its sha256 says")
        return dict(manifest)

    def _check_members(self, file_size: int) -> None:
        """Names and sizes as the manifest has them, before anything is unpacked."""
        listed, members = self._zip.infolist(), self.manifest.get("members")
        if not isinstance(members, dict) or len(listed) > MAX_MEMBERS:
            raise self._damaged("its list of members is another one")
        if sorted(entry.filename for entry in listed) != sorted([MANIFEST, *members]):
            raise self._damaged("members are missing, were added or are there twice")
        packed = stored = 0
        for entry in listed:
            if entry.filename == MANIFEST:
                continue
            wanted = members[entry.filename]
            if not isinstance(wanted, dict) or wanted.get("bytes") != entry.file_size or entry.flag_bits & 1:
                raise self._damaged(f"{entry.filename} has another size than the manifest says")
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                packed += entry.file_size
            elif entry.compress_type == zipfile.ZIP_STORED:
                stored += entry.file_size
            else:
                raise self._damaged(f"{entry.filename} is packed in another way")
        if packed > MAX_PACKED or stored > file_size:
            raise self._damaged("it would unpack to more than it may")

    def _foreign(self, why: object) -> InputError:
        return InputError(
            f"{self.name} is no exported identity ({_short(why)})",
            expected="a file that talkjax export made",
            code="not_an_export",
        )

    def _damaged(self, why: object) -> InputError:
        return InputError(
            f"{self.name} is damaged: {_short(why)}",
            fix="copy it again, or run talkjax export again",
            code="damaged_export",
        )


def _short(why: object) -> str:
    text = str(why) or type(why).__name__
    return text.splitlines()[0][:160]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
