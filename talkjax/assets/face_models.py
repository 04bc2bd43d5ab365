"""Face models by name: converting what their makers gave out, storing it, finding it again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkjax.assets.assembly import PARTS, Loaded
from talkjax.assets.bfm09 import load_bfm09
from talkjax.assets.bfm_h5 import load_bfm_h5
from talkjax.assets.catalogue import CONVERTIBLE, FACE_MODELS, LIFTED
from talkjax.assets.flame import load_flame
from talkjax.assets.ict import load_ict
from talkjax.assets.mediapipe import asset_dirs
from talkjax.assets.model_file import load_model, save_model
from talkjax.assets.model_manifest import Manifest, file_digest, missing
from talkjax.assets.stored_models import FOLDER, model_names, stored_path
from talkjax.errors import InputError
from talkjax.types import FaceModel

_MAIN_FILE = {"bfm09": "01_MorphableModel.mat", "ict": "generic_neutral_mesh.obj"}
_TAKES: Mapping[str, frozenset[str]] = {
    "bfm09": frozenset({"n_id", "n_exp", "n_tex"}),
    "bfm17": frozenset({"landmarks", "n_id", "n_exp", "n_tex", "part"}),
    "bfm19": frozenset({"landmarks", "n_id", "n_exp", "n_tex", "part"}),
    "flame": frozenset({"landmarks", "n_id", "n_exp", "part"}),
    "ict": frozenset({"n_id", "part"}),
}


def read_source(kind: str, source: Path, **options: Any) -> Loaded:
    """A model from the files that its makers give out.

    Args:
      kind: of `catalogue.CONVERTIBLE`.
      source: folder (`bfm09`, `ict`) or file (`bfm17`, `bfm19`: h5; `flame`: pkl).
      options: `n_id`, `n_exp`, `n_tex` (axes that are kept), `part` (`face` or `full`), `landmarks` (a file);
        each only for the kinds that have it.

    Raises:
      InputError: an option that the kind does not have, or what its loader says of the files.
    """
    if kind not in CONVERTIBLE:
        raise InputError(
            f"unknown kind of face model {kind!r}", expected=" or ".join(CONVERTIBLE), code="usage"
        )
    given = {name: value for name, value in options.items() if value is not None}
    if foreign := sorted(set(given) - _TAKES[kind]):
        raise InputError(
            f"--{foreign[0]} means nothing for --kind={kind}",
            expected=", ".join(f"--{name}" for name in sorted(_TAKES[kind])),
            code="usage",
        )
    if given.get("part", PARTS[0]) not in PARTS:
        raise InputError(f"unknown part {given['part']!r}", expected=" or ".join(PARTS), code="usage")
    if kind == "bfm09":
        return load_bfm09(source, **given)
    if kind == "ict":
        return load_ict(source, **given)
    if kind == "flame":
        return load_flame(source, **given)
    return load_bfm_h5(source, kind, **given)


def convert(
    kind: str,
    source: str | os.PathLike[str],
    out: str | None = None,
    assets_dir: str | os.PathLike[str] | None = None,
    *,
    license_accepted: bool = False,
    sha256: str | None = None,
    **options: Any,
) -> tuple[Path, FaceModel, Manifest]:
    """Converts a model and stores it with its manifest.

    Args:
      out: a name in the assets folder, or the path of an npz; by default the kind's name.
      license_accepted: the person says that they hold the model under its makers' terms and keep to them.
      sha256: what the main file must have; checked before it is read.
      options: see `read_source`.

    Returns:
      Where it was written, the model, its manifest.

    Raises:
      InputError: (`license_not_accepted`, `face_model_hash`) or see `read_source`; nothing is written then.
    """
    about = FACE_MODELS.get(kind, LIFTED)
    target = stored_path(out or kind, assets_dir)
    if not about.free and not license_accepted:
        raise InputError(
            f"{about.title} is under the {about.license}: {about.terms}",
            expected="--license_accepted, if you hold it under these terms and keep to them",
            code="license_not_accepted",
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise missing(path)
    if sha256 is not None:
        _check_hash(kind, path, sha256)
    loaded = read_source(kind, path, **options)
    manifest = Manifest(
        kind=kind,
        title=about.title,
        license=about.license,
        terms=about.terms,
        license_text=loaded.license_text,
        terms_accepted=license_accepted,
        sources={file.name: file_digest(file) for file in loaded.files},
        notes=loaded.notes,
    )
    try:
        save_model(target, loaded.model, manifest)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror})", fix="name another place: --out=FILE.npz"
        ) from error
    return target, loaded.model, manifest


def find_model(
    name: str | os.PathLike[str], assets_dir: str | os.PathLike[str] | None = None
) -> FaceModel | None:
    """The model of a name or path; None for `lifted`, which is made from each clip.

    Args:
      name: `lifted`, the path of an npz, or the name of a converted model in the assets folders (searched in
        the order of `mediapipe.asset_dirs`).

    Raises:
      InputError: (`face_model_missing`, `face_model_damaged`) it is nowhere, or what is there cannot be used.
    """
    text = os.fspath(name)
    if text == LIFTED.kind:
        return None
    if text.endswith(".npz") or re.search(r"[/\\]", text):
        return load_model(Path(text).expanduser())
    for folder in asset_dirs(assets_dir):
        path = folder / FOLDER / f"{text}.npz"
        if path.is_file():
            return load_model(path)
    known = ", ".join([LIFTED.kind, *model_names(assets_dir)])
    how = (
        f"talkjax assets convert --kind={text if text in CONVERTIBLE else '|'.join(CONVERTIBLE)} --source=..."
    )
    raise InputError(
        f"there is no face model {text!r}",
        expected=f"{known}, or the path of an npz",
        fix=how,
        code="face_model_missing",
    )


def _check_hash(kind: str, source: Path, wanted: str) -> None:
    name = _MAIN_FILE.get(kind, "")
    found_in = source / "FaceXModel" if (source / "FaceXModel").is_dir() else source
    main = found_in / name if name else source
    if (found := file_digest(main)) != wanted.strip().lower():
        raise InputError(
            f"{main} has sha256 {found}",
            expected=wanted,
            fix="get the file anew from its makers, or leave out --sha256",
            code="face_model_hash",
        )
