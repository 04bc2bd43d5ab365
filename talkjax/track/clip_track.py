"""`talkjax track`: a clip's head pose, expression, mesh and texture as files that other programs open."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.io

from talkjax import __version__
from talkjax.assets.model_file import save_model
from talkjax.config import FPS, TrackConfig, count_frames
from talkjax.errors import InputError
from talkjax.evaluate.plots import plot_tracking
from talkjax.face.camera import clip_camera
from talkjax.face.model import face_verts
from talkjax.infer.motion_track import format_track
from talkjax.media.image import write_image
from talkjax.media.obj import mtl_text, obj_text
from talkjax.media.output_folder import replacing_folder
from talkjax.media.reader import ClipInfo, file_sha256, probe, read_audio, read_frames
from talkjax.media.writer import VideoWriter
from talkjax.progress import Progress
from talkjax.raster.camera import project
from talkjax.results import TrackResult
from talkjax.track.clip_fit import ClipFit, fit_clip, fit_of_network, guided
from talkjax.track.clip_texture import ClipTexture, frame_verts, texture_of_clip
from talkjax.track.durable import write_json
from talkjax.track.face_glb import face_glb
from talkjax.track.joint_clip import fit_clip_jointly
from talkjax.track.landmarks import LandmarkTrack, load_landmark_models, track_landmarks
from talkjax.track.model_choice import LIFTED, ModelChoice, choose_model
from talkjax.track.overlay import Overlay
from talkjax.track.regressed import regress_clip
from talkjax.track.standard_pose import standard_track
from talkjax.track.track_files import (
    coefficient_arrays,
    jitter,
    landmark_errors,
    mat_arrays,
    motion_of,
    share_of,
)
from talkjax.types import Camera

SUMMARY = "track.json"
MIN_FACE_SHARE = 0.5
_LONGEST = 600.0  # seconds of a clip that is read whole
_AUDIO_RATE = 48_000
_REAL = "real footage with a mesh drawn over it; nothing in it is synthetic"
_AXES = "decimeters; x to image right, y up, z toward the camera, which stands at z = 10 and looks along -z"


def run(clip: Path, out: Path, config: TrackConfig, progress: Progress) -> TrackResult:
    """Tracks a clip into the folder `out`, which appears whole or not at all.

    Args:
      out: of `check_output_folder`.

    Raises:
      InputError: the clip, the model or the folder cannot be used.
    """
    started = time.monotonic()
    choice, info = choose_model(config.model), probe(clip)
    _check_texture(choice, config)
    camera = clip_camera(info.width, info.height)
    limit = config.max_seconds
    count = min(count_frames(info.duration), math.inf if limit is None else count_frames(limit))
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        seconds[name] = time.monotonic() - begun

    with replacing_folder(out) as folder:
        with timed("landmarks"), progress("landmarks", int(count)) as ticker:
            found = track_landmarks(
                _frames(clip, config, int(count)),
                load_landmark_models(),
                progress=lambda done: ticker.update(1) and None,
            )
        _check_faces(clip, found)
        with timed("fit"), progress("3D tracking", 1) as ticker:
            fit = _fit(clip, found, camera, choice, config)
            ticker.update(1)
        with timed("texture"):
            texture = _texture(clip, fit, camera, config, progress)
        with timed("files"):
            figures = _write_data(folder, fit, found, texture, camera)
            _write_mesh(folder, fit, texture, camera, info, config, progress)
        if config.overlay:
            with timed("overlay"):
                _write_overlay(folder, clip, fit, found, camera, info, config, progress)
        record = _summary(clip, info, choice, fit, figures, texture, config, seconds)
        write_json(folder / SUMMARY, {**record, "files": _contents(folder)})
    return TrackResult(
        folder=out,
        frames=len(found.valid),
        valid=int(found.valid.sum()),
        figures=figures,
        seconds={**seconds, "all": time.monotonic() - started},
    )


def _check_texture(choice: ModelChoice, config: TrackConfig) -> None:
    if config.texture == "model" and (choice.model is None or choice.model.tex_basis is None):
        raise InputError(
            f"--texture=model: the model {choice.record['name']} has no texture of its own",
            expected="a model with a texture space, such as the Basel Face Models",
            fix="use --texture=clip",
            code="no_model_texture",
        )


def _frames(clip: Path, config: TrackConfig, count: int) -> Iterator[np.ndarray]:
    whole = config.max_seconds is None
    return islice(read_frames(clip, max_seconds=_LONGEST if whole else math.inf), count)


def _fit(
    clip: Path, found: LandmarkTrack, camera: Camera, choice: ModelChoice, config: TrackConfig
) -> ClipFit:
    frames = _frames(clip, config, len(found.valid))
    if config.fit in ("landmarks", "photometric"):
        frame = _in_order(frames) if config.fit == "photometric" else None
        return fit_clip(found.landmarks, found.valid, camera, choice.model, frame)
    said = regress_clip(found.landmarks, found.valid, camera, frames)
    if config.fit == "joint":
        return fit_clip_jointly(said, choice.model, found.landmarks, camera)
    fit = fit_of_network(said, choice.model)
    return fit if config.fit == "network" else guided(fit, found.landmarks, camera)


def _in_order(frames: Iterator[np.ndarray]) -> Callable[[int], np.ndarray]:
    """Frames for one who asks for each once, from the first to the last."""
    return lambda k: next(frames)


def _check_faces(clip: Path, found: LandmarkTrack) -> None:
    share = share_of(found.valid)
    if share < MIN_FACE_SHARE:
        raise InputError(
            f"{clip.name}: a face in {share:.0%} of {len(found.valid)} frames",
            expected=f"one in at least {MIN_FACE_SHARE:.0%}",
            fix="use a clip of one person who looks toward the camera (talkjax doctor shows the gaps)",
            code="face_lost" if share else "no_face",
        )


def _texture(
    clip: Path, fit: ClipFit, camera: Camera, config: TrackConfig, progress: Progress
) -> ClipTexture | None:
    if config.texture == "none":
        return None
    t = len(fit.track.valid)
    with progress("texture", t) as ticker:
        return texture_of_clip(
            fit,
            camera,
            _frames(clip, config, t),
            source=config.texture,
            modes=config.texture_modes,
            ticked=lambda: ticker.update(1),
        )


def _write_data(
    folder: Path, fit: ClipFit, found: LandmarkTrack, texture: ClipTexture | None, camera: Camera
) -> dict[str, Any]:
    """Coefficients, landmarks, pose and plot; returns the figures of the summary."""
    t = len(found.valid)
    sh = np.zeros((t, 3, 9), np.float32) if texture is None else texture.sh_coeffs
    tex = np.zeros(0, np.float32) if texture is None else texture.tex_coeffs
    np.savez_compressed(folder / "coefficients.npz", **coefficient_arrays(fit, tex, sh, camera))  # type: ignore[arg-type]
    standard = standard_track(fit, found.landmarks, camera)
    scipy.io.savemat(folder / "coefficients.mat", mat_arrays(fit, tex, sh, standard), do_compression=True)
    np.savez_compressed(
        folder / "landmarks.npz", landmarks=found.landmarks, score=found.score, valid=found.valid
    )
    if texture is not None and len(texture.modes):
        np.savez_compressed(
            folder / "texture_modes.npz",
            modes=texture.modes,
            coeffs=texture.mode_coeffs,
            frames=texture.mode_frames,
        )
    if fit.model.name == LIFTED:
        save_model(folder / "model.npz", fit.model)
    (folder / "pose.csv").write_text(format_track(motion_of(fit, found.landmarks)), encoding="utf-8")
    pose, exp = fit.track.pose, np.asarray(fit.track.exp_coeffs)
    names = fit.model.exp_names
    plot = plot_tracking(np.asarray(pose.euler), np.asarray(pose.translation), exp, names, found.valid, FPS)
    (folder / "pose_expression.png").write_bytes(plot)
    return {
        "landmark_error_percent_of_eye_distance": landmark_errors(fit, found.landmarks, camera),
        "head_noise": jitter(fit),
        "frames_with_a_face": int(found.valid.sum()),
        "crop_reprojection_px": round(float(np.mean(standard.error_px)), 4),
        **({} if texture is None else {"skin_texels_seen": round(texture.seen, 4)}),
    }


def _write_mesh(
    folder: Path,
    fit: ClipFit,
    texture: ClipTexture | None,
    camera: Camera,
    info: ClipInfo,
    config: TrackConfig,
    progress: Progress,
) -> None:
    """mesh.obj, its material and texture, face.glb, and the sequence where asked for."""
    model, nobody = fit.model, jnp.zeros(fit.model.id_basis.shape[0])
    material = png = None
    if texture is not None:
        pixels = np.clip(texture.image * 255 + 0.5, 0, 255).astype(np.uint8)
        write_image(folder / "texture.png", pixels)
        (folder / "mesh.mtl").write_text(mtl_text("skin", "texture.png"), encoding="ascii")
        material, png = ("mesh.mtl", "skin"), (folder / "texture.png").read_bytes()
    uvs, faces = np.asarray(model.uvs), np.asarray(model.faces)
    note = f"talkjax {__version__}, model {model.name}\n"
    neutral = np.asarray(face_verts(model, nobody, jnp.zeros(fit.track.exp_coeffs.shape[-1])))
    text = obj_text(neutral, faces, uvs, note=note + _AXES.split(",")[0], material=material)
    (folder / "mesh.obj").write_text(text, encoding="ascii")
    size = (info.width, info.height)
    (folder / "face.glb").write_bytes(face_glb(fit, camera, size, png, f"talkjax {__version__}"))
    if not config.obj_sequence:
        return
    place = folder / "meshes"
    place.mkdir()
    if material is not None:
        (place / "mesh.mtl").write_text(mtl_text("skin", "../texture.png"), encoding="ascii")
    wanted = range(0, len(fit.track.valid), config.every)
    with progress("meshes", len(wanted)) as ticker:
        for k in wanted:
            verts = np.asarray(frame_verts(fit, k))
            text = obj_text(verts, faces, uvs, note=f"{note}frame {k}; {_AXES}", material=material)
            (place / f"frame_{k:05d}.obj").write_text(text, encoding="ascii")
            ticker.update(1)


def _write_overlay(
    folder: Path,
    clip: Path,
    fit: ClipFit,
    found: LandmarkTrack,
    camera: Camera,
    info: ClipInfo,
    config: TrackConfig,
    progress: Progress,
) -> None:
    overlay, t = Overlay(fit.model, camera), len(found.valid)
    axes = overlay.axes_px(fit.track.pose)
    sound = None
    if info.has_audio:
        with contextlib.suppress(InputError):  # a bad sound track is no reason to lose the pictures
            sound = read_audio(clip, _AUDIO_RATE)[: int(t / FPS * _AUDIO_RATE)], _AUDIO_RATE
    tags = {"synthetic": "false", "comment": f"talkjax {__version__} track: {_REAL}"}
    frames = _frames(clip, config, t)
    video = folder / "overlay.mp4"
    with (
        VideoWriter(
            video, info.width, info.height, fps=FPS, audio=sound, crf=config.crf, metadata=tags
        ) as writer,
        progress("overlay", t) as ticker,
    ):
        for k, frame in enumerate(frames):
            verts_px = np.asarray(project(frame_verts(fit, k), camera))
            marks = found.landmarks[k, :, :2] if found.valid[k] else None
            writer.write(overlay.draw(frame, verts_px, axes[k], marks))
            ticker.update(1)


def _contents(folder: Path) -> dict[str, int]:
    """Relative name -> bytes of everything that was written, a folder of meshes as one entry."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


def _summary(
    clip: Path,
    info: ClipInfo,
    choice: ModelChoice,
    fit: ClipFit,
    figures: dict[str, Any],
    texture: ClipTexture | None,
    config: TrackConfig,
    seconds: dict[str, float],
) -> dict[str, Any]:
    return {
        "talkjax_version": __version__,
        "what": "head pose, expression and mesh tracked from a clip",
        "clip": {
            "name": clip.name,
            "sha256": file_sha256(clip),
            "width": info.width,
            "height": info.height,
            "fps": info.fps,
        },
        "model": {**choice.record, "vertices": int(fit.model.mean.shape[0])},
        "frames": len(fit.track.valid),
        "fps": FPS,
        "units": _AXES,
        "figures": figures,
        "texture": "none" if texture is None else config.texture,
        "light": "not fitted" if texture is None else "nine harmonics per color and frame",
        "overlay": _REAL if config.overlay else "none",
        "settings": json.loads(config.to_json()),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
