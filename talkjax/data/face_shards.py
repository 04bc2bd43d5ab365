"""Drawn faces kept in files: JPEG pictures and truth in `faces-00000.npz` ..., and `manifest.json`.

Pictures are larger than what a network sees, by `MARGIN`, so that training can cut them anew each time.
JPEG with a random quality is also one of a camera's faults.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np

from talkjax.assets.model_file import load_model, save_model
from talkjax.data.picture_spoil import to_uint8
from talkjax.data.shard_jobs import build_shards
from talkjax.data.synthetic_faces import FaceStage, FaceTruth, draw_faces
from talkjax.errors import InputError
from talkjax.progress import SILENT, Progress
from talkjax.rng import stream_key
from talkjax.track.durable import write_json
from talkjax.types import FaceModel

FORMAT = 1
MARGIN = 8 / 7
"""Side of a stored picture over that of the square which a network sees."""
GROUP = 16
"""Faces drawn by one call: group g of a seed is the same wherever it is drawn."""
PER_SHARD = 2048
HELD_OUT_SHARDS = 1
"""So many shards at the end are not trained on."""
_QUALITY = (60, 96)
MODEL_FILE, MANIFEST = "model.npz", "manifest.json"


class FaceRows(NamedTuple):
    """Pictures and truth, one row each.

    images: [n s s 3] uint8. coeffs of the truth, then the head's pose before `focal`, `center` (a camera in
    the picture's pixels at distance 10 dm).
    """

    images: Any
    id_coeffs: Any
    exp_coeffs: Any
    tex_coeffs: Any
    sh_coeffs: Any
    euler: Any
    translation: Any
    focal: Any
    center: Any


def rows_of(images: Any, truth: FaceTruth) -> FaceRows:
    """On the host."""
    coeffs = truth.coeffs
    fields = (
        *(coeffs.id_coeffs, coeffs.exp_coeffs, coeffs.tex_coeffs, coeffs.sh_coeffs),
        *(truth.pose.euler, truth.pose.translation, truth.camera.focal, truth.camera.center),
    )
    return FaceRows(to_uint8(images), *(np.asarray(field, np.float32) for field in fields))


def draw_group(stage: FaceStage, seed: int, group: int, size: int) -> FaceRows:
    """`GROUP` faces: a pure function of (seed, group, size)."""
    return rows_of(*draw_faces(stage, stream_key(seed, "faces", group), GROUP, size, MARGIN))


def joined(parts: list[FaceRows]) -> FaceRows:
    return FaceRows(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


def _shard_name(k: int) -> str:
    return f"faces-{k:05d}.npz"


def _build(k: int, out: str, seed: int, size: int, count: int) -> None:
    """Draws and writes shard `k` with `count` faces."""
    stage = FaceStage.of(load_model(Path(out) / MODEL_FILE))
    first = k * PER_SHARD // GROUP
    rows = joined([draw_group(stage, seed, first + g, size) for g in range(-(-count // GROUP))])
    rng = np.random.default_rng((seed, k))
    packed = []
    for image in rows.images[:count]:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*_QUALITY))]
        packed.append(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1])
    ends = np.cumsum([len(p) for p in packed])
    truth = {name: value[:count] for name, value in rows._asdict().items() if name != "images"}
    path = Path(out) / _shard_name(k)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, pictures=np.concatenate(packed), ends=ends, **truth)
    temporary.replace(path)


def make_faces(
    out: Path, model: FaceModel, count: int, seed: int, size: int, workers: int, progress: Progress = SILENT
) -> dict[str, Any]:
    """Draws `count` faces into a folder; what is finished is kept when it runs again.

    Raises:
      InputError: the folder holds other faces.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / MODEL_FILE).exists():
        save_model(out / MODEL_FILE, model)
    n_shards = -(-count // PER_SHARD)
    digest = hashlib.sha256()
    for array in (model.mean, model.id_basis, model.exp_basis, model.tex_basis):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    manifest = {
        "format": FORMAT,
        "kind": "synthetic_faces",
        "count": count,
        "seed": seed,
        "size": size,
        "per_shard": PER_SHARD,
        "model": model.name,
        "model_sha256": digest.hexdigest(),
        "shards": n_shards,
    }
    if (out / MANIFEST).exists() and json.loads((out / MANIFEST).read_text()) != manifest:
        raise InputError(f"{out} holds other faces", fix="another --out, or delete that folder")
    write_json(out / MANIFEST, manifest)
    missing = [k for k in range(n_shards) if not (out / _shard_name(k)).exists()]

    def args(k: int) -> tuple[Any, ...]:
        return str(out), seed, size, min(PER_SHARD, count - k * PER_SHARD)

    with progress("faces", n_shards) as ticker:
        ticker.update(n_shards - len(missing))

        def done(k: int) -> None:
            ticker.update(1)

        build_shards(iter(missing), _build, args, done, workers)
    return manifest


class FaceFolder:
    """A folder of `make_faces`, read whole into memory (about 6 KB a face at 128 pixels).

    split: "train", or "heldout", the last shard (of a single one, its last tenth).
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = json.loads((self.folder / MANIFEST).read_text())
        except OSError:
            raise InputError(
                f"no faces in {folder}", fix="python -m launch.make_faces --out=DIR", code="wrong_corpus"
            ) from None
        if self.manifest.get("kind") != "synthetic_faces":
            raise InputError(f"{folder} holds no drawn faces", code="wrong_corpus")
        n = self.manifest["shards"]
        absent = [k for k in range(n) if not (self.folder / _shard_name(k)).is_file()]
        if absent:
            raise InputError(
                f"{len(absent)} of {n} shards are missing in {folder}",
                fix="run launch.make_faces again: it goes on",
                code="wrong_corpus",
            )
        last = max(n - HELD_OUT_SHARDS, 0)
        numbers = range(last) if split == "train" else range(last, n)
        if n == 1:
            numbers = range(1)
        self._pictures: list[np.ndarray] = []
        parts = []
        for k in numbers:
            with np.load(self.folder / _shard_name(k), allow_pickle=False) as data:
                self._pictures += np.split(data["pictures"], data["ends"][:-1])
                parts.append({name: data[name] for name in FaceRows._fields if name != "images"})
        self._truth = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if n == 1:
            tenth = max(len(self._pictures) // 10, 1)
            kept = slice(-tenth) if split == "train" else slice(-tenth, None)
            self._pictures = self._pictures[kept]
            self._truth = {name: value[kept] for name, value in self._truth.items()}

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def digest(self) -> str:
        """Of what was drawn, not of the files' bytes."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()

    def model(self) -> FaceModel:
        return load_model(self.folder / MODEL_FILE)

    def row(self, k: int) -> FaceRows:
        """Face `k`, leaves without a leading axis."""
        image = np.asarray(cv2.imdecode(self._pictures[k], cv2.IMREAD_COLOR))
        return FaceRows(
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB), **{name: value[k] for name, value in self._truth.items()}
        )

    def rows(self, numbers: Any) -> FaceRows:
        """Several faces as one batch."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *(self.row(int(k)) for k in numbers))
