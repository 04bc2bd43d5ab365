"""A folder of results that is whole or absent: made beside its place and moved there at the end."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
from collections.abc import Iterator

from talkjax.errors import InputError
from talkjax.media.container import Path, readable_name


def check_output_folder(path: Path, *, marker: str, overwrite: bool = False) -> pathlib.Path:
    """The absolute path of a folder that can be written, having tried the folder above it.

    What a killed process left beside it is removed, or put back where that process had moved it away.

    Args:
      marker: a file that every such folder holds; only a folder with it is ever replaced.

    Raises:
      InputError: codes exists, unwritable.
    """
    name, full = readable_name(path), pathlib.Path(os.path.abspath(os.fsdecode(path)))
    _clean(full)
    if full.exists() and not full.is_dir():
        raise InputError(f"{name} is a file", expected="a folder to write", code="exists")
    if full.is_dir() and any(full.iterdir()):
        if not (full / marker).is_file():
            raise InputError(
                f"{name} holds other files", expected="a new or empty folder", fix="choose another name",
                code="exists",
            )  # fmt: skip
        if not overwrite:
            raise InputError(f"{name} exists", fix="choose another folder, or add --overwrite", code="exists")
    trial = _beside(full, "tmp")
    try:
        full.parent.mkdir(parents=True, exist_ok=True)
        trial.mkdir()
        trial.rmdir()
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write into the folder of {name} ({error})",
            fix="check the folder's permissions and free space",
            code="unwritable",
        ) from error
    return full


@contextlib.contextmanager
def replacing_folder(full: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder to fill; it becomes `full` when the block ends well, or nothing is left of it.

    Args:
      full: of `check_output_folder`; an existing folder there is replaced.

    Raises:
      InputError: write_failed.
    """
    temporary, old = _beside(full, "tmp"), _beside(full, "old")
    try:
        temporary.mkdir()
        yield temporary
        if full.exists():
            os.rename(full, old)
        os.rename(temporary, full)
    except OSError as error:
        raise InputError(
            f"writing {readable_name(full)} failed ({error})", fix="check the free space", code="write_failed"
        ) from error
    finally:
        if old.exists() and not full.exists():  # stopped between the two moves
            os.rename(old, full)
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)


def _beside(full: pathlib.Path, kind: str) -> pathlib.Path:
    return full.with_name(f".{full.name}.{kind}-{os.getpid()}")


def _clean(full: pathlib.Path) -> None:
    for kind in ("old", "tmp"):
        for rest in full.parent.glob(f".{glob.escape(full.name)}.{kind}-*"):
            number = rest.name.rpartition("-")[2]
            if not number.isdecimal() or _is_running(int(number)):
                continue
            if kind == "old" and not full.exists():
                os.rename(rest, full)
            else:
                shutil.rmtree(rest, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process != os.getpid()
