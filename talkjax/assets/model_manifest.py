"""What a stored model says of itself: kind, sources with their sha256, terms, shapes, own digest.

Numpy only, so that `talkjax assets list` need not wake JAX.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Form:
    """One kind of npz: what errors call it, its format, what its manifest says besides, whether it is packed.

    Networks are not: a gigabyte of weights gets no smaller, only slow.
    """

    noun: str
    format: str
    extra: tuple[tuple[str, str], ...] = ()
    packed: bool = True


FACE_MODEL = Form("face model", "talkjax face model 1", (("units", "dm"),))
NETWORK = Form("network", "talkjax network 1", packed=False)
MANIFEST = "manifest"
_MOST_BYTES = 8 << 30  # a larger one is no face model
_READ_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Origin and terms of a stored model.

    Attributes:
      kind: `lifted` or a kind of `catalogue.FACE_MODELS`.
      title: the model's own name.
      license: name of its terms; terms: what they mean, in a line; license_text: the notice that must stay
        with it, where there is one.
      terms_accepted: whether the person who converted it said so (never asked for free models).
      sources: file name -> sha256 of the bytes that were read.
      notes: choices of the conversion and what is approximate.
    """

    kind: str = "lifted"
    title: str = "a person's own face, lifted from a clip"
    license: str = "none: private data of the person"
    terms: str = "the person's consent is in the identity"
    license_text: str = ""
    terms_accepted: bool = False
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    manifest: Manifest,
    form: Form = FACE_MODEL,
) -> str:
    """Writes arrays and manifest as one npz, whole or not at all; equal input gives equal bytes.

    Returns:
      The content's sha256: over manifest, names, types, shapes and values.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {
        "format": form.format,
        **dict(form.extra),
        "shapes": {name: list(array.shape) for name, array in sorted(arrays.items())},
        **dataclasses.asdict(manifest),
    }
    header["sha256"] = content_digest(arrays, header)
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.tmp-", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as out:
            save: Callable[..., None] = np.savez_compressed if form.packed else np.savez
            save(out, **{MANIFEST: text}, **arrays)
        os.chmod(temporary, 0o644 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return str(header["sha256"])


def read_arrays(
    path: str | os.PathLike[str], form: Form = FACE_MODEL
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `write_arrays` wrote: arrays and the manifest as a dict.

    Raises:
      InputError: (`face_model_missing`, `face_model_damaged`) no such file, not an npz, cut off, another
        program's npz, or bytes that do not give the digest in the manifest.
    """
    target = Path(path)
    try:
        with _opened(target) as data:
            header = _header(target, data, form)
            arrays = {name: data[name] for name in data.files if name != MANIFEST}
    except _READ_ERRORS as error:
        raise damaged(target, f"cannot be read ({_first_line(error)})", form) from error
    if {name: list(array.shape) for name, array in arrays.items()} != header.get("shapes"):
        raise damaged(target, "holds other arrays than its manifest says", form)
    if content_digest(arrays, header) != header.get("sha256"):
        raise damaged(target, "does not have the sha256 that its manifest gives", form)
    return arrays, header


def read_manifest(path: str | os.PathLike[str], form: Form = FACE_MODEL) -> dict[str, Any]:
    """The manifest alone; the arrays are neither read nor checked.

    Raises:
      InputError: see `read_arrays`.
    """
    target = Path(path)
    try:
        with _opened(target) as data:
            return _header(target, data, form)
    except _READ_ERRORS as error:
        raise damaged(target, f"cannot be read ({_first_line(error)})", form) from error


def content_digest(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    """sha256 hex over the manifest (without its own digest) and every array's name, type, shape, values."""
    rest = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes.

    Raises:
      InputError: (`face_model_missing`) it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise missing(path, error) from error


def missing(path: Path, error: OSError | None = None) -> InputError:
    """The error of a file that is not there."""
    why = (error.strerror if error is not None else None) or "No such file or directory"
    return InputError(
        f"{path}: {why}",
        expected="a readable file of the model",
        fix="talkjax assets list says what each model is made of and where it comes from",
        code="face_model_missing",
    )


def damaged(path: Path, problem: str, form: Form = FACE_MODEL) -> InputError:
    """The error of a stored model that cannot be trusted."""
    return InputError(
        f"{form.noun} {path} {problem}",
        expected="an untouched npz that talkjax wrote",
        fix="make it again (talkjax prepare for a person, assets convert for a model)",
        code=f"{form.noun.replace(' ', '_')}_damaged",
    )


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise missing(path)
    opened = np.load(path, allow_pickle=False)
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise ValueError("not an npz")
    if opened.zip is None or sum(entry.file_size for entry in opened.zip.infolist()) > _MOST_BYTES:
        opened.close()
        raise ValueError("too large")
    return opened


def _header(path: Path, data: np.lib.npyio.NpzFile, form: Form) -> dict[str, Any]:
    if MANIFEST not in data.files:
        raise damaged(path, "has no manifest", form)
    header = json.loads(data[MANIFEST].tobytes())
    if not isinstance(header, dict) or header.get("format") != form.format:
        found = header.get("format") if isinstance(header, dict) else None
        raise damaged(path, f"has format {found!r}, not {form.format!r}", form)
    return header


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
