"""What of an identity goes into an exported file."""

from __future__ import annotations

from typing import Any

import numpy as np

from talkjax.infer.bundle.choice import look_arrays
from talkjax.infer.bundle.layout import BundleConfig
from talkjax.infer.bundle.refiners import refiner_arrays, refiner_settings
from talkjax.infer.bundle.shape import bank_arrays, face_arrays
from talkjax.infer.bundle.sounds import mapping_arrays
from talkjax.infer.detail import Detail
from talkjax.infer.head_style import fit_head_style
from talkjax.infer.mapping_session import PROGRAMS, Mapping
from talkjax.infer.motion import upper_face
from talkjax.infer.motion_plan import eye_style
from talkjax.infer.person import Person
from talkjax.infer.pose_sources import rest_frame
from talkjax.infer.retrieval import gaze_of
from talkjax.nets.mapping_stream import DELAY, LEAD


def bundle_config(person: Person, mapping: Mapping, refiner: Any) -> BundleConfig:
    """Sizes of the programs of a person."""
    sides = person.crops(person.train.pose).side
    size = person.crop_size
    detail = getattr(refiner, "detail", Detail())
    return BundleConfig(
        width=person.width,
        height=person.height,
        crop_size=size,
        fine=size if float(np.median(sides)) <= 1.2 * size else 2 * size,
        texture_size=person.texels.size,
        paste_size=int(np.ceil(sides.max())) + 2,
        n_exp=mapping.n_exp,
        mapping=mapping.preset,
        refiner=refiner.preset,
        refiner_settings=refiner_settings(refiner),
        detail_one=detail.one,
        detail_gain=detail.gain,
        sound_block=PROGRAMS[mapping.preset][2],
        delay=DELAY,
        lead=LEAD,
    )


def bundle_arrays(person: Person, mapping: Mapping, refiner: Any) -> dict[str, dict[str, np.ndarray]]:
    """Constants of the programs, by group."""
    return {
        "mapping": {name: np.asarray(leaf) for name, leaf in mapping_arrays(mapping).items()},
        "face": face_arrays(person.model),
        "look": look_arrays(person.features, getattr(refiner, "geometry", None), refiner.appearance),
        "bank": bank_arrays(person, refiner.appearance),
        "refiner": refiner_arrays(refiner),
    }


def motion_arrays(person: Person) -> dict[str, np.ndarray]:
    """What the host plays: the clip's motion frame by frame, and how the person's eyes move."""
    segment, eyes = person.train, eye_style(person)
    style, _ = fit_head_style(segment.euler, segment.translation, segment.valid)
    return {
        "exp": segment.exp.astype(np.float32),
        "euler": segment.euler.astype(np.float32),
        "translation": segment.translation.astype(np.float32),
        "sh": segment.sh.astype(np.float32),
        "gaze": gaze_of(segment.landmarks),
        "upper": upper_face(person.model),
        "rest_frame": np.array(rest_frame(style, segment.euler), np.int32),
        "eyes/columns": eyes.columns.astype(np.int32),
        "eyes/blink_columns": np.asarray(eyes.blink_columns, np.int32),
        "eyes/follow": eyes.follow,
        "eyes/rest": eyes.rest,
        "eyes/calm": np.asarray(eyes.calm, np.int32),
        "eyes/intervals": eyes.intervals,
        "eyes/shapes": np.concatenate(eyes.shapes),
        "eyes/lengths": np.array([len(shape) for shape in eyes.shapes], np.int32),
    }
