"""`talkjax prepare`: a clip becomes an identity, in five cached stages.

clip            training frames, their sound and landmarks
heldout         the same of the remaining frames; nothing but `evaluate` (and --all_frames) reads it
track           the person's face model; pose and expression of the training frames, refined on the picture
texture         albedo per training frame and shared, light per frame
heldout_track   pose, expression and light of the held-out frames, identity and albedo frozen
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.assets.model_file import load_model, save_model
from talkjax.config import FPS, PrepareConfig, count_frames
from talkjax.errors import InputError
from talkjax.evaluate.speech import lip_opening
from talkjax.face.camera import clip_camera
from talkjax.face.render import FaceRenderer
from talkjax.infer.person import (
    Segment,
    frame_path,
    join_segments,
    load_segment,
)
from talkjax.infer.sound_offset import estimate_offset
from talkjax.media.image import read_image, write_image
from talkjax.media.reader import ClipInfo, file_sha256, probe, read_audio, read_frames
from talkjax.progress import SILENT, Progress
from talkjax.track.bundle import fit_identity
from talkjax.track.crop import crop_track, cut, native_size, stack_cameras
from talkjax.track.identity import Identity
from talkjax.track.landmarks import load_landmark_models, track_landmarks
from talkjax.track.photometric import SkinPoints, refine_track
from talkjax.track.temporal import FaceTrack, fit_track
from talkjax.track.texture import Unwrapper, build_texture_bank, fit_light
from talkjax.types import SKIN, Camera, FaceModel

SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = int(SAMPLE_RATE / FPS)
TEXTURE_SIZE = 384
MIN_FACE_SHARE = 0.8
ALL_PARTS = (("clip", "track"), ("heldout", "heldout_track"))

# Raise a stage's number when its code changes what it writes.
VERSIONS = {"clip": 1, "track": 3, "texture": 2}


@dataclass(frozen=True)
class _ClipPart:
    """What decides the content of the `clip` and `heldout` stages."""

    start: int
    stop: int
    width: int
    height: int


def run(
    identity: Identity, clip: Path, config: PrepareConfig, progress: Progress = SILENT
) -> dict[str, Path]:
    """Runs or reuses all stages; returns stage name -> folder.

    Raises:
      InputError: the clip cannot be read, is too short, or shows no face (codes too_short, no_face, ...).
    """
    info = probe(clip)
    n_frames = count_frames(info.duration)
    n_train = config.split(n_frames)
    if n_train < 50:
        raise InputError(
            f"{clip.name} is {info.duration:.1f} s long, which leaves {n_train} training frames",
            expected="at least 50 training frames at 25 fps; 300 (12 s) work well",
            fix="use a longer clip",
            code="too_short",
        )
    source = file_sha256(clip)
    folders = {"clip": _clip_stage(identity, "clip", clip, source, info, (0, n_train), config, progress)}
    identity.set_source(clip)  # only now: a refused clip leaves the record as it was
    has_heldout = n_train < n_frames
    if has_heldout:
        part = (n_train, n_frames)
        folders["heldout"] = _clip_stage(identity, "heldout", clip, source, info, part, config, progress)
    camera = clip_camera(info.width, info.height)
    folders["track"] = _track_stage(identity, camera, progress)
    offset = _sound_offset(identity)
    folders["texture"] = _texture_stage(identity, camera, progress)
    if has_heldout:
        folders["heldout_track"] = _heldout_track_stage(identity, camera, progress)

    def note(record: object) -> None:
        record.fps, record.size = FPS, [info.width, info.height]  # type: ignore[attr-defined]
        record.train_frames, record.n_frames = n_train, n_frames  # type: ignore[attr-defined]
        record.sound_offset = offset  # type: ignore[attr-defined]

    identity.update(note)
    return folders


def _clip_stage(
    identity: Identity,
    name: str,
    clip: Path,
    source: str,
    info: ClipInfo,
    part: tuple[int, int],
    config: PrepareConfig,
    progress: Progress,
) -> Path:
    def build(folder: Path) -> None:
        (folder / "frames").mkdir()
        frames = islice(read_frames(clip, max_seconds=config.max_seconds), *part)
        models = load_landmark_models()
        label = "landmarks" if name == "clip" else "landmarks 2"
        with progress(label, part[1] - part[0]) as ticker:
            track = track_landmarks(
                _stored(frames, folder), models, progress=lambda done: ticker.update(1) and None
            )
        n = len(track.valid)
        share = float(np.mean(track.valid))
        if share < MIN_FACE_SHARE:
            code, what = ("no_face", "no face") if share == 0 else ("face_lost", f"a face in {share:.0%}")
            raise InputError(
                f"{clip.name}: {what} of the {n} frames"
                if share
                else f"{clip.name}: no face in any of the {n} frames",
                expected=f"one face in at least {MIN_FACE_SHARE:.0%} of the frames",
                fix="use a clip of one person who looks toward the camera (talkjax doctor shows the gaps)",
                code=code,
            )
        np.savez_compressed(
            folder / "landmarks.npz",
            landmarks=track.landmarks,
            valid=track.valid,
            score=track.score,
            n_faces=track.n_faces,
        )
        first = part[0] * SAMPLES_PER_FRAME
        np.save(folder / "audio.npy", _sound(clip, info)[first : first + n * SAMPLES_PER_FRAME])
        meta = {"width": info.width, "height": info.height, "first_frame": part[0], "n_frames": n}
        (folder / "clip.json").write_text(json.dumps(meta))

    settings = _ClipPart(part[0], part[1], info.width, info.height)
    return identity.run_stage(
        name, inputs={"source": source}, config=settings, version=VERSIONS["clip"], build=build
    )


def _sound(clip: Path, info: ClipInfo) -> np.ndarray:
    """The clip's sound from picture time 0, padded with silence to the length of the picture."""
    if not info.has_audio:
        return np.zeros(0, np.float32)
    wav = read_audio(clip, SAMPLE_RATE)
    missing = math.ceil(info.duration * SAMPLE_RATE) + SAMPLES_PER_FRAME - len(wav)
    return np.pad(wav, (0, max(missing, 0)))


def _stored(frames: Iterable[np.ndarray], folder: Path) -> Iterator[np.ndarray]:
    """Passes frames on after writing each to disk."""
    for k, frame in enumerate(frames):
        write_image(frame_path(folder, k), frame)
        yield frame


def _stored_frames(folder: Path) -> Callable[[int], np.ndarray]:
    return lambda k: read_image(frame_path(folder, k))


def _landmarks(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "landmarks.npz", allow_pickle=False) as data:
        return data["landmarks"], data["valid"]


def _save_track(folder: Path, track: FaceTrack, sh: np.ndarray) -> None:
    np.savez(
        folder / "track.npz",
        exp=np.asarray(track.exp_coeffs),
        euler=np.asarray(track.pose.euler),
        translation=np.asarray(track.pose.translation),
        valid=np.asarray(track.valid),
        sh=sh,
    )


def _track_stage(identity: Identity, camera: Camera, progress: Progress) -> Path:
    def build(folder: Path) -> None:
        landmarks, valid = _landmarks(identity.root / "clip")
        with progress("3D tracking", 3) as ticker:
            fit = fit_identity(landmarks, valid, camera)
            ticker.update(1)
            track = fit_track(fit.model, landmarks, valid, camera, init=(fit.pose, fit.exp_coeffs))
            ticker.update(1)
            frame = _stored_frames(identity.root / "clip")
            track, skin = refine_track(fit.model, track, landmarks, frame, camera)
            ticker.update(1)
        save_model(folder / "model.npz", fit.model)
        np.savez(folder / "skin.npz", **skin._asdict())
        _save_track(folder, track, np.zeros((len(landmarks), 3, 9), np.float32))

    return identity.run_stage(
        "track",
        inputs={"clip": identity.stage_key("clip")},
        config={"focal": float(camera.focal)},
        version=VERSIONS["track"],
        build=build,
    )


def _sound_offset(identity: Identity) -> dict[str, object]:
    """What the training frames tell about sound and picture being out of step; {} without sound."""
    wav = np.load(identity.root / "clip" / "audio.npy", allow_pickle=False)
    if not len(wav):
        return {}
    landmarks, valid = _landmarks(identity.root / "clip")
    return estimate_offset(wav, np.where(valid, lip_opening(landmarks), np.nan)).to_dict()


class _Unwrapped:
    """Unwraps the frames of a segment one after the other."""

    def __init__(self, model: FaceModel, camera: Camera, segment: Segment, crop_size: int | None = None):
        renderer = FaceRenderer.from_model(model)
        self.segment = segment
        self.crops = crop_track(segment.pose, camera)
        self.crop_size = crop_size or native_size(self.crops)
        self._cameras = stack_cameras(camera, self.crops, self.crop_size)
        self._verts = renderer.verts_cam(jnp.asarray(segment.exp), segment.pose)
        self.unwrap = Unwrapper(renderer, TEXTURE_SIZE)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for k in range(len(self.segment)):
            crop = cut(self.segment.frame(k), self.crops.center[k], float(self.crops.side[k]), self.crop_size)
            camera = jax.tree.map(lambda x, k=k: x[k], self._cameras)
            colour, weight, normals = self.unwrap(crop, self._verts[k], camera)
            yield colour, weight * self.segment.valid[k], normals


def _texture_stage(identity: Identity, camera: Camera, progress: Progress) -> Path:
    def build(folder: Path) -> None:
        segment = load_segment(identity.root / "clip", identity.root / "track")
        model = load_model(identity.root / "track" / "model.npz")
        build_texture(folder, model, camera, segment, progress)
        bank_sh = _bank_sh(folder)
        with np.load(identity.root / "track" / "track.npz", allow_pickle=False) as data:
            np.savez(folder / "track.npz", **{**dict(data), "sh": bank_sh})

    inputs = {"clip": identity.stage_key("clip"), "track": identity.stage_key("track")}
    return identity.run_stage(
        "texture",
        inputs=inputs,
        config={"texture_size": TEXTURE_SIZE},
        version=VERSIONS["texture"],
        build=build,
    )


def _bank_sh(folder: Path) -> np.ndarray:
    with np.load(folder / "bank.npz", allow_pickle=False) as data:
        return data["sh"]


def all_frames_texture_stage(identity: Identity, progress: Progress = SILENT) -> Path:
    """The texture of training and held-out frames together, for `finetune --all_frames`."""
    meta = json.loads((identity.root / "clip" / "clip.json").read_text())
    camera = clip_camera(meta["width"], meta["height"])

    def build(folder: Path) -> None:
        model = load_model(identity.root / "track" / "model.npz")
        parts = [load_segment(identity.root / c, identity.root / t) for c, t in ALL_PARTS]
        build_texture(folder, model, camera, join_segments(*parts), progress)

    names = [name for part in ALL_PARTS for name in part]
    return identity.run_stage(
        "texture_all",
        inputs={name: identity.stage_key(name) for name in names},
        config={"texture_size": TEXTURE_SIZE},
        version=VERSIONS["texture"],
        build=build,
    )


def build_texture(
    folder: Path, model: FaceModel, camera: Camera, segment: Segment, progress: Progress = SILENT
) -> None:
    """Unwraps every frame of a segment and writes the texture bank into `folder`."""
    frames = _Unwrapped(model, camera, segment)
    t, n = len(segment), len(frames.unwrap.texels.used)
    colours, weights = np.zeros((t, n, 3), np.uint8), np.zeros((t, n), np.uint8)
    normals = np.zeros((t, n, 3), np.float16)
    with progress("texture", t) as ticker:
        for k, (colour, weight, normal) in enumerate(frames):
            colours[k] = np.clip(colour * 255 + 0.5, 0, 255)
            weights[k] = np.clip(weight * 255 + 0.5, 0, 255)
            normals[k] = normal
            ticker.update(1)
    bank = build_texture_bank(colours, weights, normals, frames.unwrap.texels.region)
    np.save(folder / "frames.npy", bank.frames)
    np.save(folder / "weights.npy", bank.weights)
    np.savez(folder / "bank.npz", mean=bank.mean, sh=bank.sh_coeffs)
    layout = {"texture_size": TEXTURE_SIZE, "crop_size": frames.crop_size}
    (folder / "texture.json").write_text(json.dumps(layout))


def _heldout_track_stage(identity: Identity, camera: Camera, progress: Progress) -> Path:
    def build(folder: Path) -> None:
        landmarks, valid = _landmarks(identity.root / "heldout")
        model = load_model(identity.root / "track" / "model.npz")
        with np.load(identity.root / "track" / "skin.npz", allow_pickle=False) as data:
            known = SkinPoints(data["verts"], data["bary"], data["albedo"])
        with progress("3D tracking 2", 2) as ticker:
            track = fit_track(model, landmarks, valid, camera)
            ticker.update(1)
            frame = _stored_frames(identity.root / "heldout")
            track, _ = refine_track(model, track, landmarks, frame, camera, known)
            ticker.update(1)
        _save_track(folder, track, np.zeros((len(landmarks), 3, 9), np.float32))
        segment = load_segment(identity.root / "heldout", folder)
        layout = json.loads((identity.root / "texture" / "texture.json").read_text())
        frames = _Unwrapped(model, camera, segment, layout["crop_size"])
        with np.load(identity.root / "texture" / "bank.npz", allow_pickle=False) as data:
            albedo = data["mean"]
        skin = np.flatnonzero(frames.unwrap.texels.region == SKIN)[::5]
        sh = np.zeros((len(segment), 3, 9), np.float32)
        with progress("light", len(segment)) as ticker:
            for k, (colour, weight, normal) in enumerate(frames):
                sh[k] = fit_light(colour[skin], weight[skin], normal[skin], albedo[skin])
                ticker.update(1)
        _save_track(folder, track, sh)

    inputs = {
        "heldout": identity.stage_key("heldout"),
        "track": identity.stage_key("track"),
        "texture": identity.stage_key("texture"),
    }
    return identity.run_stage(
        "heldout_track", inputs=inputs, config={}, version=VERSIONS["texture"], build=build
    )
