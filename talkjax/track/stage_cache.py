"""Stages cached by content: a folder is either whole and right, or it is not used.

A stage's key is the sha256 of its inputs, its settings and its version. A finished stage is the folder
`<root>/<name>/` with a `stage.json` (key; each file's size and sha256). It is built under another name and
renamed at the end, so a kill at any moment leaves either the old stage or none:

  <name>.tmp-<pid>   being built; worthless once its process is gone
  <name>.partial     being built by a resumable stage (training); reused if the key inside it is the same
  <name>.old-<pid>   replaced a moment ago, being removed
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import talkjax
from talkjax.config import to_json
from talkjax.errors import InputError
from talkjax.track.durable import file_sha256, read_json, write_json

STAGE_FILE = "stage.json"
PARTIAL_KEY_FILE = "partial.json"
_LEFTOVER = re.compile(r".+\.(tmp|old)-\d+")


def compute_key(name: str, inputs: Mapping[str, str], config: Any, version: int) -> str:
    """Key of a stage: equal inputs (name -> digest), settings and version give equal keys."""
    content = {
        "stage": name,
        "inputs": dict(inputs),
        "config": f"{type(config).__name__}:{to_json(config)}",
        "version": version,
        "talkjax": talkjax.__version__,
    }
    return hashlib.sha256(to_json(content).encode()).hexdigest()


def load_stage(folder: Path) -> dict[str, Any] | None:
    """The `stage.json` of a committed stage; None unless all its files are there with their sizes."""
    try:
        record = read_json(folder / STAGE_FILE)
        files = record["files"]
        sizes_right = all((folder / name).stat().st_size == entry["size"] for name, entry in files.items())
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return None
    return record if sizes_right and isinstance(record.get("key"), str) else None


def damaged_files(folder: Path) -> list[str]:
    """Names of a stage's files whose bytes differ from what was committed (reads them all)."""
    record = load_stage(folder)
    if record is None:
        return [STAGE_FILE]
    return [name for name, entry in record["files"].items() if file_sha256(folder / name) != entry["sha256"]]


def run_stage(
    root: Path, name: str, key: str, build: Callable[[Path], None], resumable: bool = False
) -> Path:
    """Returns the committed stage folder `<root>/<name>`, building it first unless its key matches.

    The caller holds the exclusive lock of `root`.

    Args:
      root: folder of the stages.
      name: stage name.
      key: from `compute_key`.
      build: fills the folder it is given. If it raises, nothing is committed. Everything in the folder
        becomes part of the stage, so a resumable one removes its checkpoints last.
      resumable: keep what an interrupted `build` wrote and hand it the same folder next time, as long as
        the key is the same.
    """
    final = root / name
    record = load_stage(final)
    if record is not None and record["key"] == key:
        return final
    start = time.monotonic()
    if resumable:
        folder = _open_partial(root / f"{name}.partial", key)
        build(folder)
    else:
        folder = root / f"{name}.tmp-{os.getpid()}"
        folder.mkdir(mode=0o700)
        try:
            build(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    write_json(folder / STAGE_FILE, _describe(folder, name, key, time.monotonic() - start))
    _replace_folder(folder, final)
    (final / PARTIAL_KEY_FILE).unlink(missing_ok=True)  # only now: a kill before this line can still resume
    return final


def remove_leftovers(root: Path) -> list[str]:
    """Removes what killed processes left behind (under the exclusive lock nobody is at work)."""
    leftovers = sorted(path for path in root.iterdir() if _LEFTOVER.fullmatch(path.name))
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in leftovers]


def _open_partial(folder: Path, key: str) -> Path:
    """The resumable folder, emptied first unless it was begun with the same key."""
    try:
        begun_with = read_json(folder / PARTIAL_KEY_FILE).get("key")
    except InputError:
        begun_with = None
    if begun_with != key:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        write_json(folder / PARTIAL_KEY_FILE, {"key": key})
    return folder


def _describe(folder: Path, name: str, key: str, seconds: float) -> dict[str, Any]:
    own = (folder / STAGE_FILE, folder / PARTIAL_KEY_FILE)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in own)
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    }
    return {
        "stage": name,
        "key": key,
        "talkjax": talkjax.__version__,
        "seconds": round(seconds, 3),
        "files": files,
    }


def _replace_folder(new: Path, final: Path) -> None:
    """Puts `new` in the place of `final`; between the two renames there is no stage, never half of one."""
    old = final.with_name(f"{final.name}.old-{os.getpid()}")
    if final.exists():
        os.rename(final, old)
    os.rename(new, final)
    shutil.rmtree(old, ignore_errors=True)
