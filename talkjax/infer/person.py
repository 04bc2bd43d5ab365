"""A prepared person, loaded from an identity: everything that synthesis reads, as plain values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from talkjax.assets.model_file import load_model
from talkjax.audio.shift import advance_sound
from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.face.camera import clip_camera
from talkjax.face.model import face_verts
from talkjax.face.render import FaceRenderer
from talkjax.infer.retrieval import ZoneFeatures, gaze_of, zone_features
from talkjax.media.image import read_image
from talkjax.raster.camera import project
from talkjax.track.crop import CropTrack, crop_track, cut, stack_cameras
from talkjax.track.texture import Texels, TextureBank, texels_of
from talkjax.types import MOUTH, Camera, FaceModel, Pose


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of the clip with its tracking: the training part, the held-out part, or both joined.

    folders: of the `clip`-like stages that hold frames and sound; counts: frames in each.
    sound_advance: frames by which `wav` plays the stored sound earlier (see `sound_offset`).
    exp `[t e]`, euler/translation `[t 3]` (radians, dm), sh `[t 3 9]`, valid `[t]`, landmarks `[t 478 3]` px.
    """

    folders: tuple[Path, ...]
    counts: tuple[int, ...]
    exp: np.ndarray
    euler: np.ndarray
    translation: np.ndarray
    sh: np.ndarray
    valid: np.ndarray
    landmarks: np.ndarray
    sound_advance: float = 0.0

    def __len__(self) -> int:
        return len(self.exp)

    def frame(self, k: int) -> np.ndarray:
        """Frame k as `[h w 3]` uint8 RGB."""
        for folder, count in zip(self.folders, self.counts, strict=True):
            if k < count:
                return read_image(frame_path(folder, k))
            k -= count
        raise IndexError(f"frame {k} past the end of the segment")

    @property
    def pose(self) -> Pose:
        return Pose(euler=jnp.asarray(self.euler), translation=jnp.asarray(self.translation))

    def wav(self) -> np.ndarray:
        """The segment's sound, 16 kHz mono float32, in step with the picture; empty when the clip has
        none."""
        stored = np.concatenate([np.load(f / "audio.npy", allow_pickle=False) for f in self.folders])
        return advance_sound(stored, self.sound_advance)


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """A person ready for synthesis. `zones` are soft texel masks `[n]` of retrieval.ZONES, summing to 1."""

    name: str
    width: int
    height: int
    camera: Camera
    model: FaceModel
    renderer: FaceRenderer
    crop_size: int
    texels: Texels
    bank: TextureBank
    zones: tuple[np.ndarray, np.ndarray, np.ndarray]
    train: Segment
    features: ZoneFeatures

    def crops(self, pose: Pose) -> CropTrack:
        return crop_track(pose, self.camera)

    def cameras(self, crops: CropTrack) -> Camera:
        return stack_cameras(self.camera, crops, self.crop_size)

    def cut(self, frame: np.ndarray, crops: CropTrack, k: int) -> np.ndarray:
        return cut(frame, crops.center[k], float(crops.side[k]), self.crop_size)

    def verts_px(self, exp: np.ndarray, pose: Pose, cameras: Camera) -> np.ndarray:
        """Projected vertices `[t v 2]` in crop pixels."""
        return np.asarray(_project_all(self.renderer, jnp.asarray(exp), pose, cameras))

    def describe(self, segment: Segment) -> ZoneFeatures:
        return describe(
            self.model, segment.exp, segment.euler, segment.translation, gaze_of(segment.landmarks)
        )


@jax.jit
def _project(verts_cam: jax.Array, cameras: Camera) -> jax.Array:
    return jax.vmap(project)(verts_cam, cameras)


def _project_all(renderer: FaceRenderer, exp: jax.Array, pose: Pose, cameras: Camera) -> jax.Array:
    return _project(renderer.verts_cam(exp, pose), cameras)


def describe(
    model: FaceModel, exp: np.ndarray, euler: np.ndarray, translation: np.ndarray, gaze: np.ndarray
) -> ZoneFeatures:
    """Retrieval features of frames given by coefficients."""
    verts = np.asarray(face_verts(model, jnp.zeros(model.id_basis.shape[0]), jnp.asarray(exp)))
    return zone_features(verts, euler, translation, gaze)


def frame_path(folder: Path, k: int) -> Path:
    return folder / "frames" / f"{k:05d}.jpg"


def load_segment(clip: Path, track: Path, sound_advance: float = 0.0) -> Segment:
    """A segment from its `clip`-like stage (frames, sound, landmarks) and its track stage."""
    with np.load(track / "track.npz", allow_pickle=False) as data:
        fields = {name: data[name] for name in ("exp", "euler", "translation", "sh", "valid")}
    with np.load(clip / "landmarks.npz", allow_pickle=False) as data:
        landmarks = data["landmarks"]
    return Segment(
        folders=(clip,), counts=(len(landmarks),), landmarks=landmarks, sound_advance=sound_advance, **fields
    )


_PER_FRAME = ("exp", "euler", "translation", "sh", "valid", "landmarks")


def join_segments(first: Segment, second: Segment) -> Segment:
    """Both one after the other."""
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _PER_FRAME}
    return Segment(
        folders=first.folders + second.folders,
        counts=first.counts + second.counts,
        sound_advance=first.sound_advance,
        **arrays,
    )


def first_frames(segment: Segment, count: int) -> Segment:
    """The first `count` frames of a segment; its sound stays whole."""
    return dataclasses.replace(segment, **{name: getattr(segment, name)[:count] for name in _PER_FRAME})


def soft_zones(model: FaceModel, texels: Texels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Soft masks of mouth, eyes and skin over the texels; distances on the neutral face, dm."""
    mean = np.asarray(model.mean)
    points = np.einsum("nk,nkc->nc", texels.bary, mean[texels.verts])

    def near(index: np.ndarray, inner: float, outer: float) -> np.ndarray:
        distance = cKDTree(mean[index]).query(points)[0]
        x = np.clip((outer - distance) / (outer - inner), 0, 1)
        return (x * x * (3 - 2 * x)).astype(np.float32)

    mouth = np.where(texels.region == MOUTH, np.float32(1), near(mesh468.LIPS, 0.08, 0.28))
    eyes = near(np.r_[mesh468.RIGHT_EYE, mesh468.LEFT_EYE], 0.05, 0.16) * (1 - mouth)
    return mouth, eyes, 1 - mouth - eyes


def load_bank(folder: Path) -> TextureBank:
    """The texture bank; the large arrays stay on disk and are read as needed."""
    with np.load(folder / "bank.npz", allow_pickle=False) as data:
        mean, sh = data["mean"], data["sh"]
    frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
    weights = np.load(folder / "weights.npy", mmap_mode="r", allow_pickle=False)
    return TextureBank(mean, frames, weights, sh)


def load_person(
    name: str,
    clip: Path,
    track: Path,
    texture: Path,
    heldout: tuple[Path, Path] | None = None,
    sound_advance: float = 0.0,
) -> Person:
    """Loads a person from the stage folders of `prepare`.

    Args:
      heldout: clip and track stages of the held-out part, when `texture` was built from all frames.
      sound_advance: frames by which the clip's sound comes late.
    """
    meta = json.loads((clip / "clip.json").read_text())
    model = load_model(track / "model.npz")
    layout = json.loads((texture / "texture.json").read_text())
    texels = texels_of(model, layout["texture_size"])
    bank = load_bank(texture)
    if bank.mean.shape[0] != len(texels.used):
        raise InputError(
            f"texture of identity {name!r} has {bank.mean.shape[0]} texels, expected {len(texels.used)}",
            fix=f"delete {texture} and run talkjax prepare again",
            code="damaged_stage",
        )
    segment = load_segment(clip, texture if heldout is None else track, sound_advance)
    if heldout is not None:
        segment = join_segments(segment, load_segment(*heldout))
        segment = dataclasses.replace(segment, sh=bank.sh_coeffs)
    gaze = gaze_of(segment.landmarks)
    return Person(
        name=name,
        width=meta["width"],
        height=meta["height"],
        camera=clip_camera(meta["width"], meta["height"]),
        model=model,
        renderer=FaceRenderer.from_model(model),
        crop_size=layout["crop_size"],
        texels=texels,
        bank=bank,
        zones=soft_zones(model, texels),
        train=segment,
        features=describe(model, segment.exp, segment.euler, segment.translation, gaze),
    )
