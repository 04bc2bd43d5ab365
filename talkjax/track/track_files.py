"""A tracked clip as arrays, text and figures: what `talkjax track` writes, before it is written."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import savgol_filter

from talkjax.config import FPS
from talkjax.face import mesh468
from talkjax.face.coeffs import N_EXP, N_ID, N_TEX, pack
from talkjax.infer.motion_track import ANGLES, LIMITS, MotionTrack
from talkjax.infer.retrieval import gaze_of
from talkjax.track import gauss_newton as gn
from talkjax.track.clip_fit import ClipFit
from talkjax.track.standard_pose import StandardTrack
from talkjax.track.temporal import project_track
from talkjax.types import Camera, FaceCoeffs

REGIONS = {
    "lips": mesh468.LIPS,
    "eyes": np.concatenate([mesh468.RIGHT_EYE, mesh468.LEFT_EYE]),
    "brows": np.concatenate([mesh468.RIGHT_BROW, mesh468.LEFT_BROW]),
    "nose": mesh468.NOSE_RIDGE,
    "outline": mesh468.FACE_OVAL,
}
_HIGH_PASS = 7  # frames of the filter that tells noise from motion


def coefficient_arrays(
    fit: ClipFit, tex_coeffs: np.ndarray, sh_coeffs: np.ndarray, camera: Camera
) -> dict[str, np.ndarray]:
    """What `coefficients.npz` holds."""
    track = fit.track
    return {
        "id": np.asarray(fit.id_coeffs, np.float32),
        "exp": np.asarray(track.exp_coeffs, np.float32),
        "exp_names": np.array(fit.model.exp_names),
        "tex": np.asarray(tex_coeffs, np.float32),
        "euler": np.asarray(track.pose.euler, np.float32),
        "translation": np.asarray(track.pose.translation, np.float32),
        "sh": np.asarray(sh_coeffs, np.float32),
        "valid": np.asarray(track.valid),
        "fps": np.asarray(FPS),
        "focal": np.asarray(camera.focal, np.float64),
        "center": np.asarray(camera.center, np.float64),
        "camera_z": np.asarray(camera.distance, np.float64),
        "model": np.array(fit.model.name),
    }


def mat_arrays(
    fit: ClipFit, tex_coeffs: np.ndarray, sh_coeffs: np.ndarray, standard: StandardTrack
) -> dict[str, np.ndarray]:
    """What `coefficients.mat` holds: the field's names and its 224-pixel crop.

    `coeff` [t 257] is there where the model's spaces are no larger than 80, 64 and 80.
    """
    out: dict[str, Any] = {
        "lm_68p": standard.points_68.astype(np.float64),
        "lm_5p": standard.five.astype(np.float64),
        "trans_params": standard.trans_params,
    }
    t, exp = len(standard.five), fit.track.exp_coeffs
    if len(fit.id_coeffs) <= N_ID and exp.shape[-1] <= N_EXP and len(tex_coeffs) <= N_TEX:
        everywhere = [np.tile(np.asarray(c, np.float32), (t, 1)) for c in (fit.id_coeffs, tex_coeffs)]
        coeffs = FaceCoeffs(
            id_coeffs=jnp.asarray(everywhere[0]),
            exp_coeffs=exp,
            tex_coeffs=jnp.asarray(everywhere[1]),
            pose=standard.pose,
            sh_coeffs=jnp.asarray(sh_coeffs),
        )
        out["coeff"] = np.asarray(pack(coeffs), np.float64)
    return out


def motion_of(fit: ClipFit, landmarks: Float[np.ndarray, "t 478 3"]) -> MotionTrack:
    """Head, lids and gaze as a motion track, within the limits of its file."""
    names = [name.lower() for name in fit.model.exp_names]
    shut = [k for k, name in enumerate(names) if "blink" in name]
    euler = np.asarray(fit.track.pose.euler, np.float64)
    angle = np.deg2rad(LIMITS[ANGLES[0]][1])
    shifts = [LIMITS[name] for name in ("tx", "ty", "tz")]
    low, high = np.array(shifts).T
    lids = np.asarray(fit.track.exp_coeffs)[:, shut]
    gaze = np.clip(gaze_of(landmarks), *LIMITS["gaze_x"]).astype(np.float64)
    return MotionTrack(
        euler=np.clip(euler, -angle, angle),
        translation=np.clip(np.asarray(fit.track.pose.translation, np.float64), low, high),
        lid=np.clip(lids.mean(1), *LIMITS["lid"]).astype(np.float64) if shut else None,
        gaze=gaze,
    )


def landmark_errors(
    fit: ClipFit, landmarks: Float[np.ndarray, "t 478 3"], camera: Camera
) -> dict[str, float]:
    """Mean distance of fitted to observed landmarks, % of the outer-eye distance, whole and by region.

    Over the landmarks that the model has; regions of which it has none are left out.
    """
    valid = np.asarray(fit.track.valid)
    number = np.asarray(fit.model.landmarks.number)
    observed, scale = gn.observations(landmarks, valid)
    seen = np.asarray(project_track(fit.model, fit.track, camera))
    error = (np.linalg.norm(seen - observed[:, number], axis=-1) * scale[:, None])[scale > 0]
    parts = {"all": np.arange(mesh468.N_MESH), **REGIONS}
    columns = {name: np.isin(number, region) for name, region in parts.items()}
    return {name: round(float(error[:, c].mean()), 4) for name, c in columns.items() if c.any()}


def jitter(fit: ClipFit) -> dict[str, float]:
    """Frame-to-frame noise of the head: standard deviation of what a 7-frame parabola leaves."""
    if len(fit.track.valid) < _HIGH_PASS:
        return {}
    series = np.concatenate(
        [np.rad2deg(np.asarray(fit.track.pose.euler)), 10 * np.asarray(fit.track.pose.translation)], axis=1
    )
    noise = (series - savgol_filter(series, _HIGH_PASS, 2, axis=0))[np.asarray(fit.track.valid)].std(0)
    names = ("pitch_degrees", "yaw_degrees", "roll_degrees", "x_cm", "y_cm", "z_cm")
    return {name: round(float(value), 5) for name, value in zip(names, noise, strict=True)}


def share_of(valid: Bool[np.ndarray, "t"]) -> float:
    """Share of the frames in which the face was seen."""
    return float(np.mean(valid)) if len(valid) else 0.0
