"""Published networks that a user holds: converting, storing, finding again. Numpy only.

One npz per kind, `networks/KIND.npz` in an assets folder, with a manifest like a face model's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.catalogue import NETWORKS
from talkjax.assets.face_embedding_weights import load_face_embedding
from talkjax.assets.gan_weights import load_discriminator, load_generator, load_memory
from talkjax.assets.mediapipe import asset_dirs
from talkjax.assets.model_manifest import (
    NETWORK,
    Manifest,
    file_digest,
    missing,
    read_arrays,
    read_manifest,
    write_arrays,
)
from talkjax.assets.resnet18_weights import load_resnet18
from talkjax.errors import InputError

FOLDER = "networks"
_GENERATOR, _DISCRIMINATOR, _MEMORY = "net_G.pth", "net_D.pth", "net_mem.pth"


def convert_network(
    kind: str,
    source: str | os.PathLike[str],
    out: str | None = None,
    assets_dir: str | os.PathLike[str] | None = None,
    *,
    license_accepted: bool = False,
    sha256: str | None = None,
) -> tuple[Path, Manifest, int]:
    """Reads a network's files and stores it with its manifest.

    Args:
      kind: of `catalogue.NETWORKS`.
      source: file; for `paper_gan` also the folder with its three files.
      out: path of an npz; by default `networks/KIND.npz` in the first assets folder, where it is found.
      license_accepted: the person says that they hold it under its makers' terms and keep to them.
      sha256: what the (main) file must have.

    Returns:
      Where it was written, its manifest, the number of its parameters.

    Raises:
      InputError: (`license_not_accepted`, `network_hash`) or what the kind's reader says; nothing is written.
    """
    about = NETWORKS[kind]
    if not license_accepted:
        raise InputError(
            f"{about.title} is under the {about.license}: {about.terms}",
            expected="--license_accepted, if you hold it under these terms and keep to them",
            code="license_not_accepted",
        )
    if out is not None and not out.endswith(".npz"):
        raise InputError(f"{out!r} cannot hold a network", expected="a path that ends in .npz", code="usage")
    path = Path(source).expanduser()
    if not path.exists():
        raise missing(path)
    files = _gan_files(path) if kind == "paper_gan" else {"": path}
    main = next(iter(files.values()))
    if sha256 is not None and (found := file_digest(main)) != sha256.strip().lower():
        raise InputError(f"{main} has sha256 {found}", expected=sha256, code="network_hash")
    tree = _read(kind, files)
    manifest = Manifest(
        kind=kind,
        title=about.title,
        license=about.license,
        terms=about.terms,
        terms_accepted=license_accepted,
        sources={file.name: file_digest(file) for file in files.values()},
        notes=_notes(kind, tree),
    )
    target = Path(out).expanduser() if out else asset_dirs(assets_dir)[0] / FOLDER / f"{kind}.npz"
    arrays = dict(_flat(tree))
    try:
        write_arrays(target, arrays, manifest, NETWORK)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror})", fix="name another place: --out=FILE.npz"
        ) from error
    return target, manifest, sum(value.size for name, value in arrays.items() if "/params/" in name)


def _gan_files(path: Path) -> dict[str, Path]:
    """Part -> file: the generator's, and those of the same epoch beside it."""
    if path.is_dir():
        found = sorted(path.glob(f"*{_GENERATOR}"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise InputError(
                f"{path} has {len(found)} generators ({names})",
                expected=f"one *{_GENERATOR}",
                fix=f"name the file: --source={path}/60_{_GENERATOR}",
                code="gan_weights",
            )
        path = found[0]
    prefix = path.name.removesuffix(_GENERATOR)
    files = {"generator": path}
    for part, ending in (("discriminator", _DISCRIMINATOR), ("memory", _MEMORY)):
        if path.name != prefix and (beside := path.with_name(prefix + ending)).is_file():
            files[part] = beside
    return files


def _read(kind: str, files: Mapping[str, Path]) -> dict[str, Any]:
    if kind == "resnet18":
        return load_resnet18(files[""])
    if kind == "arcface":
        return load_face_embedding(files[""])
    tree: dict[str, Any] = {"generator": load_generator(files["generator"])}
    if "discriminator" in files:
        tree["discriminator"] = load_discriminator(files["discriminator"])
    return tree | (load_memory(files["memory"]) if "memory" in files else {})


def _notes(kind: str, tree: Mapping[str, Any]) -> tuple[str, ...]:
    if kind != "paper_gan":
        return ()
    parts = {"discriminator": "discriminator", "query": "memory network", "bank": "stored memory"}
    return tuple(f"without {what}" for part, what in parts.items() if part not in tree)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = np.asarray(value)
    return flat


def find_network(kind: str, assets_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The stored network of a kind in the folders of `mediapipe.asset_dirs`; None where there is none."""
    paths = (folder / FOLDER / f"{kind}.npz" for folder in asset_dirs(assets_dir))
    return next((path for path in paths if path.is_file()), None)


def load_network(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by names like `generator/params/Conv_0/kernel`, and the manifest.

    Raises:
      InputError: (`network_damaged`) not a whole npz of this form.
    """
    return read_arrays(path, NETWORK)


def network_digest(path: Path) -> str:
    """sha256 of a stored network's content, from its manifest.

    Raises:
      InputError: (`network_damaged`).
    """
    return str(read_manifest(path, NETWORK)["sha256"])


def describe_networks(assets_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Lines for `talkjax assets list`: what each network is, its terms, what is here or stands in."""
    lines = []
    for kind, about in NETWORKS.items():
        lines += [f"{kind}: {about.title}", f"  terms: {about.license}; {about.terms}"]
        lines += [f"  from: {about.source}", f"  files: {', '.join(about.files)}; sha256 user-supplied"]
        path = find_network(kind, assets_dir)
        if path is None:
            how = f"talkjax assets convert --kind={kind} --source=..."
            lines.append(f"  here: not converted ({how}); without it: {about.stands_in}")
            continue
        try:
            manifest = read_manifest(path, NETWORK)
        except InputError as error:
            lines.append(f"  not usable: {error}")
            continue
        sources = ", ".join(f"{name} {digest}" for name, digest in manifest["sources"].items())
        lines.append(f"  here: {path} (sha256 {manifest['sha256']}; made of {sources})")
        lines += [f"  note: {note}" for note in manifest["notes"]]
    return lines
