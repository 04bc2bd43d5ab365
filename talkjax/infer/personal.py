"""`talkjax finetune`: mapping, head motion and refiner of one person, as resumable cached stages."""

from __future__ import annotations

from pathlib import Path

import jax

from talkjax.config import FinetuneConfig
from talkjax.data.motion_weights import motion_weights_path
from talkjax.infer.person import Person, load_person
from talkjax.infer.personal_mapping import fit_mapping, require_sound
from talkjax.infer.personal_motion import fit_motion
from talkjax.infer.personal_refiner import fit_refiner
from talkjax.progress import SILENT, Progress
from talkjax.track.durable import file_sha256
from talkjax.track.identity import Identity
from talkjax.track.prepare import all_frames_texture_stage

VERSIONS = {"mapping": 2, "refiner": 2, "motion": 2}
PREPARED = ("clip", "track", "texture")
HELD_OUT = ("heldout", "heldout_track")


def open_person(identity: Identity, *, all_frames: bool = False) -> Person:
    """The prepared person; InputError says to run `talkjax prepare` when stages are missing or damaged.

    Args:
      all_frames: with the held-out frames, for a model that was fine-tuned on all of them.
    """
    if not all_frames:
        clip, track, texture = (identity.require_stage(name, verb="prepare") for name in PREPARED)
        return load_person(identity.name, clip, track, texture, sound_advance=identity.record.sound_repair)
    clip, track = (identity.require_stage(name, verb="prepare") for name in PREPARED[:2])
    heldout = [identity.require_stage(name, verb="prepare") for name in HELD_OUT]
    texture = identity.require_stage("texture_all", verb="finetune --all_frames")
    return load_person(
        identity.name,
        clip,
        track,
        texture,
        heldout=(heldout[0], heldout[1]),
        sound_advance=identity.record.sound_repair,
    )


def finetune(identity: Identity, config: FinetuneConfig, progress: Progress = SILENT) -> dict[str, Path]:
    """Fits all networks; returns stage name -> folder.

    Raises:
      InputError: not prepared, or the clip is silent. DivergedError. ResumableStop.
    """
    for name in PREPARED:
        identity.require_stage(name, verb="prepare")
    everything = config.all_frames and identity.has_stage("heldout")
    if everything:
        all_frames_texture_stage(identity, progress)
    person = open_person(identity, all_frames=everything)
    platform = jax.default_backend()
    wav = person.train.wav()
    require_sound(wav, identity.name)
    used = (*PREPARED[:2], *HELD_OUT, "texture_all") if everything else PREPARED
    inputs = {name: identity.stage_key(name) for name in used}
    sound = {"sound_repair": str(identity.record.sound_repair)}
    mapping_config, refiner_config = config.mapping(platform), config.refiner(platform)
    folders = {}
    folders["mapping"] = identity.run_stage(
        "mapping",
        inputs=inputs | sound,
        config=mapping_config,
        version=VERSIONS["mapping"],
        build=lambda folder: fit_mapping(person, wav, mapping_config, folder, progress),
        resumable=True,
    )
    folders["motion"] = identity.run_stage(
        "motion",
        inputs={**inputs, "general": file_sha256(motion_weights_path())},
        config=config.motion(),
        version=VERSIONS["motion"],
        build=lambda folder: fit_motion(person, wav, config.motion(), folder, progress),
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
