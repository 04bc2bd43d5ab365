"""Which face model a run uses, from the words of a flag."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from talkjax.assets.mediapipe import asset_dirs
from talkjax.assets.model_file import load_model
from talkjax.errors import InputError
from talkjax.media.container import check_file
from talkjax.track.durable import file_sha256
from talkjax.types import FaceModel

LIFTED = "lifted"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


class ModelChoice(NamedTuple):
    """model: None for the lifted one, which each clip makes anew. record: name, license, sha256 of a file."""

    model: FaceModel | None
    record: dict[str, Any]


def choose_model(name: str) -> ModelChoice:
    """The model called `lifted`, one in the assets folder (`NAME.npz`), or a file that ends in .npz.

    Raises:
      InputError: no such model (code no_model), or a file that is no face model.
    """
    if name == LIFTED:
        record = {"name": LIFTED, "license": "none: made from the clip alone, nothing was downloaded for it"}
        return ModelChoice(None, record)
    if name.endswith(".npz"):
        path = Path(check_file(name))
    else:
        places = [folder / "face_models" / f"{name}.npz" for folder in asset_dirs()]
        path = next((place for place in places if place.is_file()), places[0])
        if Path(name).name != name or not path.is_file():
            raise InputError(
                f"--model={name} is unknown",
                expected=f"{LIFTED}, FILE.npz, or the name of a model in {path.parent}",
                fix="talkjax assets list shows which models can be had",
                code="no_model",
            )
    try:
        model = load_model(path)
        manifest = _manifest(path)
    except _DAMAGE as error:
        raise InputError(
            f"{path} is no face model ({str(error).splitlines()[0][:120] if str(error) else 'damaged'})",
            expected="an npz that talkjax wrote",
            code="face_model_damaged",
        ) from error
    licence = manifest.get("license") or "not stated in the file"
    record = {"name": model.name, "license": licence, "terms": manifest.get("terms", "")}
    return ModelChoice(model, {**record, "sha256": file_sha256(path)})


def _manifest(path: Path) -> dict[str, Any]:
    """What the file says of itself; empty where it says nothing."""
    with np.load(path, allow_pickle=False) as data:
        if "manifest" not in data.files:
            return {}
        found = json.loads(data["manifest"].tobytes())
    return found if isinstance(found, dict) else {}
