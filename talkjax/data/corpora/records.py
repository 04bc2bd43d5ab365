"""What one example holds: an utterance (mapping corpora) or a frame of a prepared person (refiner corpora).

Pictures are features of encoded bytes: without TensorFlow, tensorflow-datasets cannot encode arrays. The
readers ask for those bytes and decode them themselves, in the threads that make the batches.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from talkjax.data.speech_corpus import N_CHANNELS, Utterance, decode_flac, encode_flac
from talkjax.errors import InputError
from talkjax.face.deformers import EXP_NAMES
from talkjax.infer.training_data import RefinerData

PICTURES = ("bare", "many", "one", "target")
STORED = ("jpeg", "small", "raw")
"""How pictures are kept. `jpeg`: quality 95 without color subsampling, 46 dB, 22 kB for 256 x 256
(tests/benchmarks/bench_input.py); `small`: quality 82, color at half the size; `raw`: exact."""


def _bytes() -> Any:
    """A feature of bytes of any length."""
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


def utterance_record(utterance: Utterance, flac: bytes | None = None) -> dict[str, Any]:
    """An utterance as an example of `mapping_features`; `flac`: its sound, where that is encoded already."""
    return {
        "flac": encode_flac(utterance.wav) if flac is None else flac,
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


def refiner_features(size: int, n_features: int, n_values: int, pictures: str = "jpeg") -> Any:
    """One frame of a person in the crop of `size` pixels: composites `bare`, `many`, `one` and the real
    `target` (see `STORED`); `region` int8 `[s s]` behind zlib (-1: off the face), from
    which the error weight follows (`infer.training_data.error_weight`); `features` geometry, standardised;
    `values` appearance; `valid` whether it may be trained on; `identity` and `frame` numbers. The frames of
    an identity follow each other, so that a window is this record and the two before."""
    shape = (size, size, 3)
    picture = tfds.features.Image(shape=shape, dtype=np.uint8, encoding_format="jpeg")
    return tfds.features.FeaturesDict(
        {
            **{name: _bytes() if pictures == "raw" else picture for name in PICTURES},
            "region": _bytes(),
            "features": tfds.features.Tensor(shape=(n_features,), dtype=np.float32),
            "values": tfds.features.Tensor(shape=(n_values,), dtype=np.float32),
            "valid": np.bool_,
            "identity": np.int64,
            "frame": np.int64,
            "name": tfds.features.Text(),
            "split": tfds.features.Text(),
        }
    )


def encoded(image: np.ndarray, pictures: str = "jpeg") -> bytes:
    """uint8 RGB `[s s 3]` as one of `STORED`."""
    if pictures == "raw":
        return image.tobytes()
    quality, sampling = 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    if pictures == "small":
        quality, sampling = 82, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def decoded(data: bytes, size: int) -> np.ndarray:
    """What `encoded` made, uint8 RGB `[s s 3]`.

    Raises:
      InputError: damaged bytes.
    """
    if len(data) == size * size * 3:
        return np.frombuffer(data, np.uint8).reshape(size, size, 3)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != (size, size, 3):
        raise InputError("a picture of the corpus is damaged", fix="build it again", code="damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def region_of(data: bytes, size: int) -> np.ndarray:
    """int8 `[s s]` of a record's region."""
    return np.frombuffer(zlib.decompress(data), np.int8).reshape(size, size)


def frame_records(
    data: RefinerData, number: int, name: str, split: str, pictures: str = "jpeg"
) -> Iterator[dict[str, Any]]:
    """All frames of one prepared person as examples of `refiner_features`."""
    for k in range(len(data.valid)):
        yield {
            **{field: encoded(getattr(data, field)[k], pictures) for field in PICTURES},
            "region": zlib.compress(data.region[k].tobytes()),
            "features": np.asarray(data.features[k], np.float32),
            "values": np.asarray(data.values[k], np.float32),
            "valid": bool(data.valid[k]),
            "identity": number,
            "frame": k,
            "name": name,
            "split": split,
        }
