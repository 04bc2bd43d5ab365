"""Clips (or drawn people) to frames for the refiner: the real preparation of a person, then every layer."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.config import PrepareConfig
from talkjax.data.corpora.records import frame_records
from talkjax.data.preparation import Job
from talkjax.errors import InputError
from talkjax.infer.appearance import fit_appearance
from talkjax.infer.descriptors import appearance_values, fit_geometry_code
from talkjax.infer.person import load_person
from talkjax.infer.training_data import RefinerData, build_refiner_data
from talkjax.track import prepare
from talkjax.track.durable import file_sha256
from talkjax.track.identity import Identity, delete_identity

VERSION = 2
FPS = 25.0


@dataclasses.dataclass(frozen=True)
class FrameJobs:
    """`preparation.Preparer`: a clip becomes a person (`talkjax prepare`), the person becomes frames.

    Attributes:
      root: folder of the clips; for drawn people, where the clips are drawn to.
      people: folder that keeps the prepared people, so that another size needs only the layers; None: a
        person is deleted after use (a long clip's frames take much space).
      size: side of the crop in pixels.
      n_frames: frames of each person, from the start of the clip.
      clip_size: side in pixels of a drawn person's clip.
    """

    root: Path
    people: Path | None
    size: int = 256
    n_frames: int = 300
    clip_size: int = 480

    def ready(self) -> None:
        landmark_model_files()

    def key(self, job: Job) -> str:
        if "seed" in job.facts:
            content = f"seed {job.facts['seed']}, {self.clip_size} px"
        else:
            if not (self.root / job.name).is_file():
                raise InputError(f"{self.root / job.name} is not there", code="missing_file")
            content = file_sha256(self.root / job.name)
        facts = [VERSION, prepare.VERSIONS, content, self.size, self.n_frames, job.split]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def prepare(self, job: Job, result: Path, key: str) -> int:
        clip = self._drawn(job) if "seed" in job.facts else self.root / job.name
        name = "p-" + hashlib.sha256(job.name.encode()).hexdigest()[:24]
        folder = self.people if self.people is not None else result.parent / f".people-{os.getpid()}"
        try:
            identity = Identity.create(name, folder)
            stages = prepare.run(identity, clip, PrepareConfig(train_frames=self.n_frames))
            clip_stage, track, texture = (stages[part] for part in ("clip", "track", "texture"))
            person = load_person(name, clip_stage, track, texture)
            person = dataclasses.replace(person, crop_size=self.size)
            features = fit_geometry_code(person.features)(person.features)
            values = appearance_values(person.bank, person.zones)
            appearance = fit_appearance(
                person.bank, person.features, person.zones, person.texels.region, person.train.valid
            )
            write_frames(result, build_refiner_data(person, appearance, features, values), key)
        finally:
            if self.people is None and folder.exists():
                delete_identity(name, folder)
                shutil.rmtree(folder, ignore_errors=True)
        return self.n_frames

    def intact(self, result: Path, key: str) -> bool:
        try:
            with zipfile.ZipFile(result) as archive:
                if archive.testzip() is not None:
                    return False
            with np.load(result, allow_pickle=False) as file:
                return str(file["key"]) == key
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return False

    def _drawn(self, job: Job) -> Path:
        from talkjax.data.synthetic_person import synthesize_clip

        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f"{job.name}-{self.clip_size}-{self.n_frames}.mp4"
        if not path.exists():
            half = path.with_name(f"{path.stem}.tmp-{os.getpid()}.mp4")
            seconds, side = self.n_frames / FPS, (self.clip_size, self.clip_size)
            synthesize_clip(half, seed=job.facts["seed"], seconds=seconds, size=side, overwrite=True)
            os.replace(half, path)
        return path


_ARRAYS = tuple(field.name for field in dataclasses.fields(RefinerData))


def write_frames(path: Path, data: RefinerData, key: str) -> None:
    """Writes the frames of one person in one step."""
    file = io.BytesIO()
    np.savez_compressed(file, key=np.array(key), **{name: getattr(data, name) for name in _ARRAYS})  # type: ignore[arg-type]
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(file.getvalue())
    os.replace(temporary, path)


def frame_examples(
    result: Path, number: int, job: Job, pictures: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples in a job's result."""
    with np.load(result, allow_pickle=False) as file:
        data = RefinerData(**{name: file[name] for name in _ARRAYS})
    for k, record in enumerate(frame_records(data, number, job.name, job.split, pictures)):
        yield f"{job.name}/{k:06d}", record
