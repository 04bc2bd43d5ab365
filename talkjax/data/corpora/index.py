"""The index beside a built corpus: what reading needs to know of all examples without opening them.

index.npz     per split: what `Column`s say of each example, in the order of the files
index.json    kind, statistics, sha256 of each file; its own sha256 is the corpus's digest
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.data.corpora.records import PICTURES
from talkjax.data.mapping_batches import Moments
from talkjax.errors import InputError
from talkjax.track.durable import file_sha256, read_json, write_json

INDEX, ARRAYS = "index.json", "index.npz"
FORMAT = 1


def write_index(builder: Any, kind: str, made_from: str) -> dict[str, Any]:
    """Reads every example of a finished builder once (undecoded) and writes its index; returns it.

    `made_from`: digest of the sources, so that a later run notices that they changed."""
    folder = Path(builder.data_dir)
    arrays: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "builder": builder.name,
        "made_from": made_from,
        "splits": {},
    }
    skip = encoded_pictures(builder.info.features)
    columns = _mapping_columns if kind == "mapping" else _refiner_columns
    for split in sorted(builder.info.splits):
        found, facts = columns(builder.as_data_source(split, decoders=skip))
        arrays |= {f"{split}/{name}": values for name, values in found.items()}
        index["splits"][split] = facts
    if kind == "refiner":
        for name in ("features", "values"):
            index[f"n_{name}"] = builder.info.features[name].shape[0]
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    (folder / ARRAYS).write_bytes(data.getvalue())
    files = [p for p in sorted(folder.iterdir()) if ".array_record" in p.name] + [folder / ARRAYS]
    index["files"] = {p.name: [p.stat().st_size, file_sha256(p)] for p in files}
    write_json(folder / INDEX, index)
    return index


def _mapping_columns(examples: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    voices: dict[str, int] = {}
    voice, length, moments = [], [], Moments()
    for k in range(len(examples)):
        record = examples[k]
        voice.append(voices.setdefault(record["voice"].decode(), len(voices)))
        length.append(len(record["exp"]))
        moments.add(*(record[n][record["valid"]].astype(np.float32) for n in ("channels", "exp")))
    arrays = {
        "voice": np.array(voice, np.int32),
        "length": np.array(length, np.int32),
        **{f"scales/{name}": value for name, value in moments.scales()._asdict().items()},
    }
    return arrays, {"voices": list(voices), "hours": round(sum(length) / 25 / 3600, 4)}


def _refiner_columns(examples: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    rows = [(e["identity"], e["frame"], e["valid"]) for e in (examples[k] for k in range(len(examples)))]
    identity, frame, valid = (np.array(column) for column in zip(*rows, strict=True))
    arrays = {"identity": identity.astype(np.int64), "frame": frame.astype(np.int64), "valid": valid}
    side = math.isqrt(len(zlib.decompress(examples[0]["region"])))
    return arrays, {"frames": len(rows), "identities": len(np.unique(identity)), "size": side}


def encoded_pictures(features: Any) -> dict[str, Any] | None:
    """Decoders that leave the pictures of a corpus as the bytes they are."""
    import tensorflow_datasets as tfds

    names = [name for name in PICTURES if name in features.keys()]  # noqa: SIM118 (no mapping)
    found = [name for name in names if isinstance(features[name], tfds.features.Image)]
    return {name: tfds.decode.SkipDecoding() for name in found} or None


def read_index(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(index.json, arrays) of a built corpus; files of another length, or another index, are refused.

    Raises:
      InputError: no index, another format, or damage that shows without reading the files through.
    """
    if not (folder / INDEX).exists():
        raise InputError(
            f"{folder} holds no finished corpus ({INDEX} is missing)",
            fix="python -m launch.prepare_corpus (docs/corpora.md); a stopped run goes on",
            code="no_corpus",
        )
    index = read_json(folder / INDEX)
    if index.get("format") != FORMAT:
        raise InputError(
            f"{folder / INDEX}: format {index.get('format')!r}", expected=str(FORMAT), code="bad_format"
        )
    for name, (size, _) in index["files"].items():
        found = (folder / name).stat().st_size if (folder / name).exists() else None
        if found != size:
            raise _damaged(folder / name, f"{size} bytes", "missing" if found is None else f"{found} bytes")
    data = (folder / ARRAYS).read_bytes()
    if hashlib.sha256(data).hexdigest() != index["files"][ARRAYS][1]:
        raise _damaged(folder / ARRAYS, f"what {INDEX} says", "other bytes")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return index, dict(arrays)


def verify_files(folder: Path) -> None:
    """Reads every file through; InputError names the first whose bytes are not those that were built."""
    index, _ = read_index(folder)
    for name, (_, digest) in index["files"].items():
        if file_sha256(folder / name) != digest:
            raise _damaged(folder / name, "the bytes that were built", "others")


def index_digest(folder: Path) -> str:
    """sha256 over what was built, file by file."""
    files = json.dumps(read_json(folder / INDEX)["files"], sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def _damaged(path: Path, expected: str, found: str) -> InputError:
    return InputError(
        f"{path} is damaged ({found})",
        expected=expected,
        fix="delete the corpus's version folder and build it again; prepared clips are kept",
        code="damaged",
    )
