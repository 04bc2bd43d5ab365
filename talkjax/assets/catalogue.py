"""Ledger of every external file that talkjax reads but does not carry: what it is, whose, and why.

None of these files is in the repository. Each is checked against its sha256 before it is used, so a file from
anywhere (the package index, a colleague, a USB stick) is as good as the original.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ExternalFile:
    """One external file.

    Attributes:
      name: file name in the assets folder.
      member: path inside the source archive.
      sha256: hex digest of the exact bytes that were tested.
      size: bytes.
      license: SPDX name.
      source: the archive that carries it.
      used_for: what breaks without it.
    """

    name: str
    member: str
    sha256: str
    size: int
    license: str
    source: str
    used_for: str


MEDIAPIPE_PACKAGE = "mediapipe"
MEDIAPIPE_VERSION = "0.10.21"
MEDIAPIPE_WHEEL = f"{MEDIAPIPE_PACKAGE}-{MEDIAPIPE_VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl"

FACE_DETECTOR = ExternalFile(
    name="face_detection_short_range.tflite",
    member="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    size=229_714,
    license="Apache-2.0",
    source=MEDIAPIPE_WHEEL,
    used_for="finding faces in a frame",
)
FACE_MESH = ExternalFile(
    name="face_landmark_with_attention.tflite",
    member="mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
    sha256="e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    size=2_495_106,
    license="Apache-2.0",
    source=MEDIAPIPE_WHEEL,
    used_for="478 facial landmarks of a face crop",
)
MEDIAPIPE_LICENSE = ExternalFile(
    name="mediapipe-LICENSE",
    member=f"{MEDIAPIPE_PACKAGE}-{MEDIAPIPE_VERSION}.dist-info/LICENSE",
    sha256="8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    size=12_331,
    license="Apache-2.0",
    source=MEDIAPIPE_WHEEL,
    used_for="the licence that must stay with the two model files",
)

LANDMARK_FILES = {"detector": FACE_DETECTOR, "mesh": FACE_MESH, "license": MEDIAPIPE_LICENSE}
CATALOGUE = tuple(LANDMARK_FILES.values())


def describe() -> str:
    """The ledger as text, one file per line, for `doctor` and the README."""
    return "\n".join(
        f"{f.name}  {f.size} bytes  {f.license}  sha256={f.sha256}  from {f.source}  ({f.used_for})"
        for f in CATALOGUE
    )
