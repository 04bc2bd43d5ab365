"""What one example holds: an utterance (mapping corpora) or a frame of a prepared person (refiner corpora).

Pictures are features of encoded bytes: without TensorFlow, tensorflow-datasets cannot encode arrays. The
readers ask for those bytes and decode them themselves, in the threads that make the batches.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from talkjax.data.speech_corpus import N_CHANNELS, Utterance, decode_flac, encode_flac
from talkjax.face.deformers import EXP_NAMES

PICTURES = ("bare", "many", "one", "target", "region")


def _bytes() -> Any:
    return tfds.features.Tensor(shape=(), dtype=np.object_)


def mapping_features() -> Any:
    """One utterance of t frames (25 per second): `flac` a 16 kHz mono file of 640 t samples; `exp` expression
    coefficients; `channels` articulators (NaN: unknown); `pose` euler in radians and translation in dm (NaN:
    unknown); `valid` frames that may be trusted; `phones` CMU phones, joined by spaces, ending at
    `phone_ends` seconds; `style` JSON."""
    tensor = tfds.features.Tensor
    return tfds.features.FeaturesDict(
        {
            "flac": _bytes(),
            "exp": tensor(shape=(None, len(EXP_NAMES)), dtype=np.float16),
            "channels": tensor(shape=(None, N_CHANNELS), dtype=np.float16),
            "pose": tensor(shape=(None, 6), dtype=np.float32),
            "valid": tensor(shape=(None,), dtype=np.bool_),
            "phones": tfds.features.Text(),
            "phone_ends": tensor(shape=(None,), dtype=np.float32),
            "voice": tfds.features.Text(),
            "language": tfds.features.Text(),
            "split": tfds.features.Text(),
            "key": tfds.features.Text(),
            "text": tfds.features.Text(),
            "style": tfds.features.Text(),
        }
    )


def utterance_record(utterance: Utterance) -> dict[str, Any]:
    """An utterance as an example of `mapping_features`."""
    return {
        "flac": encode_flac(utterance.wav),
        "exp": utterance.exp.astype(np.float16),
        "channels": utterance.channels.astype(np.float16),
        "pose": np.concatenate([utterance.euler, utterance.translation], 1).astype(np.float32),
        "valid": np.asarray(utterance.valid, bool),
        "phones": " ".join(name for name, _ in utterance.phones),
        "phone_ends": np.array([end for _, end in utterance.phones], np.float32),
        "voice": utterance.voice,
        "language": utterance.language,
        "split": utterance.split,
        "key": utterance.key,
        "text": utterance.text,
        "style": json.dumps(utterance.style, sort_keys=True),
    }


def utterance_of(record: dict[str, Any]) -> Utterance:
    """The utterance of an example read back."""
    text = {name: record[name].decode() for name in ("voice", "language", "split", "key", "text")}
    ends = record["phone_ends"].tolist()
    return Utterance(
        wav=decode_flac(record["flac"]),
        exp=record["exp"],
        channels=record["channels"],
        euler=record["pose"][:, :3],
        translation=record["pose"][:, 3:],
        valid=record["valid"],
        phones=tuple(zip(record["phones"].decode().split(), ends, strict=True)),
        style=json.loads(record["style"]),
        **text,
    )


def refiner_features(size: int, n_features: int, n_values: int) -> Any:
    """One frame of a person in the crop of `size` pixels: composites `bare`, `many`, `one` and the real
    `target` as JPEG, `region` (+1: 0 is off the face) as PNG; `features` geometry, standardised; `values`
    appearance; `valid` whether it may be trained on; `identity` and `frame` numbers. The frames of an
    identity follow each other, so that a window is the two records before."""

    def picture(channels: int, form: str) -> Any:
        return tfds.features.Image(shape=(size, size, channels), dtype=np.uint8, encoding_format=form)

    return tfds.features.FeaturesDict(
        {
            **{name: picture(3, "jpeg") for name in PICTURES[:4]},
            "region": picture(1, "png"),
            "features": tfds.features.Tensor(shape=(n_features,), dtype=np.float32),
            "values": tfds.features.Tensor(shape=(n_values,), dtype=np.float32),
            "valid": np.bool_,
            "identity": np.int64,
            "frame": np.int64,
            "name": tfds.features.Text(),
            "split": tfds.features.Text(),
        }
    )
