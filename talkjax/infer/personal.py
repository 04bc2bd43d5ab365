"""`talkjax finetune`: the mapping and the refiner of one person, as resumable cached stages."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from talkjax.config import FinetuneConfig
from talkjax.infer.person import Person, load_person
from talkjax.infer.personal_mapping import fit_mapping, require_sound
from talkjax.infer.personal_refiner import fit_refiner
from talkjax.progress import SILENT, Progress
from talkjax.track.identity import Identity

VERSIONS = {"mapping": 1, "refiner": 1}
PREPARED = ("clip", "track", "texture")


def open_person(identity: Identity) -> Person:
    """The prepared person; InputError says to run `talkjax prepare` when stages are missing or damaged."""
    folders = [identity.require_stage(name, verb="prepare") for name in PREPARED]
    return load_person(identity.name, *folders)


def finetune(identity: Identity, config: FinetuneConfig, progress: Progress = SILENT) -> dict[str, Path]:
    """Fits both networks; returns stage name -> folder.

    Raises:
      InputError: not prepared, or the clip is silent. DivergedError. ResumableStop.
    """
    person = open_person(identity)
    platform = jax.default_backend()
    wav = np.load(identity.root / "clip" / "audio.npy", allow_pickle=False)
    require_sound(wav, identity.name)
    inputs = {name: identity.stage_key(name) for name in PREPARED}
    mapping_config, refiner_config = config.mapping(platform), config.refiner(platform)
    folders = {}
    folders["mapping"] = identity.run_stage(
        "mapping",
        inputs=inputs,
        config=mapping_config,
        version=VERSIONS["mapping"],
        build=lambda folder: fit_mapping(person, wav, mapping_config, folder, progress),
        resumable=True,
    )
    folders["refiner"] = identity.run_stage(
        "refiner",
        inputs=inputs,
        config=refiner_config,
        version=VERSIONS["refiner"],
        build=lambda folder: fit_refiner(person, refiner_config, folder, progress),
        resumable=True,
    )
    return folders
