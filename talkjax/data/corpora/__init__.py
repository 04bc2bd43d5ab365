"""Corpora as tensorflow-datasets builders, written as array_record: no TensorFlow to build, none to read.

One file per builder; `base` is what they share, `records` says what one example holds, `corpus` opens what
was built. docs/corpora.md says how to get and build each.
"""

from __future__ import annotations

import importlib
from typing import Any

from talkjax.errors import InputError

BUILDERS = {
    "lrw": "lrw.Lrw",
    "voxceleb2": "voxceleb2.VoxCeleb2",
    "hdtf": "hdtf.Hdtf",
    "video_folder": "video_folder.VideoFolder",
    "generated_speech": "generated_speech.GeneratedSpeech",
    "synthetic_people": "synthetic_people.SyntheticPeople",
}
FRAME_BUILDERS = {"hdtf": "hdtf.HdtfFrames", "video_folder": "video_folder.VideoFolderFrames"}


def builder_class(name: str, frames: bool = False) -> Any:
    """The builder of a corpus; `frames`: the one that makes refiner frames of it.

    Raises:
      InputError: there is none of that name.
    """
    table = FRAME_BUILDERS if frames else BUILDERS
    if name not in table:
        raise InputError(f"corpus {name!r}{' with --frames' if frames else ''}", expected=", ".join(table))
    module, attribute = table[name].split(".")
    return getattr(importlib.import_module(f"talkjax.data.corpora.{module}"), attribute)
