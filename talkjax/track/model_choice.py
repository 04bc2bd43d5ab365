"""Which face model a run uses, from the words of a flag, and what is written down about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from talkjax.assets.catalogue import LIFTED as LIFTED_SOURCE
from talkjax.assets.face_models import find_model
from talkjax.assets.model_manifest import read_manifest
from talkjax.assets.stored_models import stored_files
from talkjax.types import FaceModel

LIFTED = LIFTED_SOURCE.kind


class ModelChoice(NamedTuple):
    """model: None for the lifted one, which each clip makes anew. record: name, license, sha256 of a file."""

    model: FaceModel | None
    record: dict[str, Any]


def choose_model(name: str) -> ModelChoice:
    """The model called `lifted`, a converted one by its name, or a file that ends in .npz.

    Raises:
      InputError: see `face_models.find_model`.
    """
    model = find_model(name)
    if model is None:
        return ModelChoice(
            None, {"name": LIFTED, "license": LIFTED_SOURCE.license, "terms": "made of the clip"}
        )
    path = stored_files().get(name) or Path(name).expanduser()
    manifest = read_manifest(path)
    parts = ("title", "license", "terms", "sha256")
    return ModelChoice(model, {"name": model.name, **{part: manifest.get(part, "") for part in parts}})
