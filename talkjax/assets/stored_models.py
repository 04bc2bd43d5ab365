"""Where converted face models lie, and what is there. Light: numpy only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from talkjax.assets.catalogue import LIFTED
from talkjax.assets.mediapipe import asset_dirs
from talkjax.assets.model_manifest import read_manifest
from talkjax.errors import InputError

FOLDER = "face_models"
"""In each assets folder."""


def stored_path(out: str, assets_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where a model goes: a path that ends in `.npz`, or a name in the first assets folder.

    Raises:
      InputError: (`usage`) neither a path of an npz nor a plain name.
    """
    if out.endswith(".npz"):
        return Path(out).expanduser()
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", out) or out == LIFTED.kind:
        raise InputError(
            f"{out!r} cannot name a face model",
            expected=f"letters, digits, - and _ (not {LIFTED.kind!r}), or a path that ends in .npz",
            code="usage",
        )
    return asset_dirs(assets_dir)[0] / FOLDER / f"{out}.npz"


def stored_files(assets_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Name -> npz of the converted models in the assets folders, the first of each name."""
    found: dict[str, Path] = {}
    for folder in asset_dirs(assets_dir):
        for path in sorted((folder / FOLDER).glob("*.npz")):
            found.setdefault(path.stem, path)
    return found


def model_names(assets_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of the converted models."""
    return list(stored_files(assets_dir))


def describe_stored(kind: str, assets_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """A line for each converted model of a kind: name, place, size of its spaces, digest."""
    lines = []
    for name, path in stored_files(assets_dir).items():
        try:
            manifest: dict[str, Any] = read_manifest(path)
        except InputError:
            continue
        if manifest.get("kind") == kind:
            shapes = manifest["shapes"]
            sizes = f"{shapes['id_basis'][0]} identity, {shapes['exp_names'][0]} expression axes"
            lines.append(f"{name}: {path} ({sizes}; sha256 {manifest['sha256']})")
    return lines


def unreadable(assets_dir: str | os.PathLike[str] | None = None) -> list[InputError]:
    """What is wrong with the npz files that are no models."""
    errors = []
    for path in stored_files(assets_dir).values():
        try:
            read_manifest(path)
        except InputError as error:
            errors.append(error)
    return errors
