"""Small files that are either whole or absent, and digests of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from talkjax.errors import InputError


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes, read in constant memory."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Writes JSON to `path` in one step: readers see the old text or the new, also after a kill."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with open(temporary, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; InputError when it is not there, not JSON or not an object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="unreadable") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}", expected="JSON", code="damaged") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} is damaged", expected="a JSON object", code="damaged")
    return data
