"""Landmarks of a drawn person who turns the head and talks, with the truth behind them."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from talkjax.face.camera import clip_camera
from talkjax.face.person import person_model
from talkjax.types import Camera, FaceModel, Pose

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class MovingFace:
    """`landmarks` [t 478 3] px as the network would give them; the rest is what made them."""

    model: FaceModel
    camera: Camera
    pose: Pose
    exp_coeffs: np.ndarray
    landmarks: np.ndarray


def _smooth(n: int, columns: int, width: int, rng: np.random.Generator) -> np.ndarray:
    kernel = np.hanning(width + 2)[1:-1]
    noise = rng.normal(size=(n + width, columns))
    series = np.stack([np.convolve(noise[:, c], kernel, "valid")[:n] for c in range(columns)], axis=1)
    return (series - series.mean(0)) / series.std(0)


def moving_face(
    neutral: np.ndarray, n_frames: int, *, noise_px: float = 0.2, depth_scale: float = 1.0, seed: int = 0
) -> MovingFace:
    """A person with this neutral; the first third of the frames has a mouth at rest.

    Args:
      neutral: [468 3] dm.
      noise_px: standard deviation of the landmarks' independent noise.
      depth_scale: factor on the landmarks' z, which a network only guesses.
    """
    rng = np.random.default_rng(seed)
    model, camera = person_model(neutral), clip_camera(WIDTH, HEIGHT)
    # about the motion of a lively speaker; the distance gives some 90 px between the eye corners
    euler = np.deg2rad([4.0, 8.0, 3.0]) * _smooth(n_frames, 3, 25, rng)
    translation = np.array([0.1, 0.05, 3.0]) + [0.2, 0.15, 0.1] * _smooth(n_frames, 3, 25, rng)
    exp = np.zeros((n_frames, len(model.exp_names)))
    talk = np.clip(_smooth(n_frames, 4, 5, rng), 0, None) * (np.arange(n_frames) >= n_frames // 3)[:, None]
    for column, name in enumerate(("jawOpen", "lowerDown", "pucker", "upperUp")):
        exp[:, model.exp_names.index(name)] = 0.3 * talk[:, column]
    for side in "RL":
        exp[:, model.exp_names.index(f"blink_{side}")] = np.isin(np.arange(n_frames) % 40, (20, 21, 22))
    landmarks = _observe(model, camera, euler, translation, exp)
    landmarks[..., :2] += rng.normal(size=landmarks[..., :2].shape) * noise_px
    landmarks[..., 2] *= depth_scale
    pose = Pose(euler=jnp.float32(euler), translation=jnp.float32(translation))
    return MovingFace(model, camera, pose, exp, np.concatenate([landmarks, landmarks[:, :10]], axis=1))


def _observe(
    model: FaceModel, camera: Camera, euler: np.ndarray, translation: np.ndarray, exp: np.ndarray
) -> np.ndarray:
    """Landmarks [t 468 3] by plain numpy: x, y px; z px under weak perspective, smaller = nearer."""
    verts = np.asarray(model.mean, np.float64) + np.einsum("te,evc->tvc", exp, np.asarray(model.exp_basis))
    out = np.empty_like(verts)
    for t, (pitch, yaw, roll) in enumerate(euler):
        rx = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        ry = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        rz = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        turned = verts[t] @ (rz @ ry @ rx).T
        depth = float(camera.distance) - turned[:, 2] - translation[t, 2]
        out[t, :, 0] = (
            float(camera.center[0]) + float(camera.focal) * (turned[:, 0] + translation[t, 0]) / depth
        )
        out[t, :, 1] = (
            float(camera.center[1]) - float(camera.focal) * (turned[:, 1] + translation[t, 1]) / depth
        )
        out[t, :, 2] = -turned[:, 2] * float(camera.focal) / (float(camera.distance) - translation[t, 2])
    return out
