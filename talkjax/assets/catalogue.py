"""Ledger of every external file that talkjax reads but does not carry: what it is, whose, and why.

None of these files is in the repository. The landmark network's are checked against their sha256 before
they are used, so a file from anywhere (the package index, a colleague, a USB stick) is as good as the
original. Face models (`FACE_MODELS`) and networks (`NETWORKS`) are never downloaded: their makers give them
to people who accept their terms, and `talkjax assets convert` turns what was given into the project's own
form.
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


@dataclasses.dataclass(frozen=True)
class FaceModelSource:
    """One kind of face model that can be converted.

    Attributes:
      kind: as in `talkjax assets convert --kind`.
      title: the model's own name.
      license: name of its terms.
      terms: what they mean, in a line.
      free: whether anybody may use it for anything; other terms must be accepted by hand.
      files: what the source holds, with the part that talkjax takes from each.
      source: the project that gives it out.
      known_sha256: (file, hex digest) of published files that were at hand when this was written.
    """

    kind: str
    title: str
    license: str
    terms: str
    free: bool
    files: tuple[str, ...]
    source: str
    known_sha256: tuple[tuple[str, str], ...] = ()


_BASEL = "non-commercial research after registration with the makers; pass on neither the model nor its npz"
LIFTED = FaceModelSource(
    kind="lifted",
    title="the person's own face, lifted from the clip (the default)",
    license="Apache-2.0",
    terms="part of talkjax",
    free=True,
    files=(),
    source="nothing to get: made from the landmarks of each clip",
)
BFM09 = FaceModelSource(
    kind="bfm09",
    title="Basel Face Model 2009 with the expression basis of Guo et al.",
    license="Basel Face Model 2009 license",
    terms=_BASEL,
    free=False,
    files=(
        "01_MorphableModel.mat",
        "Exp_Pca.bin",
        "std_exp.txt",
        "BFM_exp_idx.mat",
        "BFM_front_idx.mat",
        "facemodel_info.mat",
    ),
    source="University of Basel, Basel Face Model 2009 (the first file); Guo et al., 3DFace, CoarseData (the "
    "second); project Deep3DFaceReconstruction, folder BFM (the others)",
)
BFM17 = FaceModelSource(
    kind="bfm17",
    title="Basel Face Model 2017",
    license="Basel Face Model 2017 license",
    terms=_BASEL,
    free=False,
    files=("model2017-1_face12_nomouth.h5 or model2017-1_bfm_nomouth.h5",),
    source="University of Basel, Basel Face Model 2017",
)
BFM19 = FaceModelSource(
    kind="bfm19",
    title="Basel Face Model 2019",
    license="Basel Face Model 2019 license",
    terms=_BASEL,
    free=False,
    files=("model2019_face12.h5, model2019_bfm.h5 or model2019_fullHead.h5",),
    source="University of Basel, Basel Face Model 2019",
)
FLAME = FaceModelSource(
    kind="flame",
    title="FLAME 2020 or 2023",
    license="FLAME model license of the release",
    terms="read the license of your release (2020: non-commercial research, registration); credit the makers",
    free=False,
    files=(
        "generic_model.pkl (or flame2023.pkl ...)",
        "flame_static_embedding.pkl or landmark_embedding.npy",
    ),
    source="Max Planck Institute for Intelligent Systems, FLAME; landmarks: projects TF_FLAME, RingNet, DECA",
)
ICT = FaceModelSource(
    kind="ict",
    title="ICT-FaceKit light face model",
    license="MIT",
    terms="free for any use with its notice: Copyright (c) 2020 USC Institute for Creative Technologies",
    free=True,
    files=(
        "LICENSE",
        "FaceXModel/generic_neutral_mesh.obj",
        "FaceXModel/vertex_indices.json",
        "FaceXModel/*.obj",
    ),
    source="project ICT-FaceKit",
    known_sha256=(
        ("LICENSE", "b20a78d8fc51657e14f3e00c8abb538d786ad00aa63210328c22565e583167e1"),
        ("generic_neutral_mesh.obj", "eedbc2576d8e5ea57f55255b8f98263213a1efb5431d8bfceed1d7aef10271f9"),
        ("vertex_indices.json", "4f9b35306299980dd46bee4a6b79bb95dfae1953693b74b35a64f7febfd081a5"),
    ),
)
FACE_MODELS = {m.kind: m for m in (LIFTED, BFM09, BFM17, BFM19, FLAME, ICT)}
CONVERTIBLE = tuple(kind for kind, model in FACE_MODELS.items() if model.files)


@dataclasses.dataclass(frozen=True)
class NetworkSource(FaceModelSource):
    """One published network that can be converted; `stands_in` is what is used without it."""

    stands_in: str = ""


PAPER_GAN = NetworkSource(
    kind="paper_gan",
    title="the paper's memory-augmented GAN, general or of a person",
    license="terms of the authors",
    terms="the authors state a patent and allow research only",
    free=False,
    files=("*_net_G.pth", "*_net_D.pth (may be missing)", "*_net_mem.pth (may be missing)"),
    source="the authors' release; a folder with the files of one epoch, or its *_net_G.pth",
    stands_in="finetune --preset=paper starts at random",
)
RESNET18 = NetworkSource(
    kind="resnet18",
    title="ResNet-18 trained on ImageNet, the picture feature of the paper's memory",
    license="BSD-3-Clause (weights of torchvision)",
    terms="trained on ImageNet, whose pictures are for non-commercial research; judge for yourself",
    free=False,
    files=("resnet18-*.pth or *.safetensors (its file name holds the first digits of its sha256)",),
    source="project torchvision, models.resnet18",
    stands_in="random weights of a fixed seed",
)
ARCFACE = NetworkSource(
    kind="arcface",
    title="ArcFace face recognition, IResNet-50 or IResNet-100, the identity feature of the paper's memory",
    license="InsightFace model terms",
    terms="non-commercial research only",
    free=False,
    files=("w600k_r50.onnx, or a backbone as *.pth or *.safetensors",),
    source="project InsightFace, model zoo (buffalo_l) or arcface_torch",
    stands_in="a small embedding trained on drawn people, which ships",
)
NETWORKS = {network.kind: network for network in (PAPER_GAN, RESNET18, ARCFACE)}


def describe() -> str:
    """The ledger as text, one file per line, for `doctor` and the README."""
    return "\n".join(
        f"{f.name}  {f.size} bytes  {f.license}  sha256={f.sha256}  from {f.source}  ({f.used_for})"
        for f in CATALOGUE
    )
