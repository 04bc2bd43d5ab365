"""A person's neutral face from the landmark network's own depth (face.md §2, §5).

Every frame's 468 points are brought onto each other by similarity transforms of points that the face
moves least; the median over frames with closed lips is the neutral. Pure numpy in float64.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.face.pose import euler_from_rotation
from talkjax.types import Camera, Pose

EYE_DISTANCE_DM = 0.9
"""Outer-eye distance that fixes the scale of every lifted face; one camera cannot see the scale."""

MIN_FRAMES = 25
MIN_CLOSED_FRAMES = 15
CLOSED_GAP = 0.03
"""Lips count as closed when points 13-14 are closer than this share of the outer-eye distance."""

_CLOSED_SHARE = 0.3  # of all frames: the most closed ones make the neutral
_ROUNDS = 4
_TO_Y_UP = np.array([1.0, -1.0, -1.0])  # landmark axes (y down, z away) to model axes


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least-squares similarity target = scale * source @ R.T + offset (Umeyama's closed form).

    Args:
      source, target: [*b n 3], broadcastable batch.

    Returns:
      scale [*b], R [*b 3 3] (a proper rotation), offset [*b 3].
    """
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    source, target = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(target, -1, -2) @ source)
    signs = np.ones_like(singular)
    signs[..., 2] = np.linalg.det(u @ vt)
    matrix = (u * signs[..., None, :]) @ vt
    scale = (singular * signs).sum(-1) / np.maximum((source**2).sum((-1, -2)), 1e-12)
    moved = scale[..., None, None] * source_mean @ np.swapaxes(matrix, -1, -2)
    return scale, matrix, (target_mean - moved)[..., 0, :]


def eye_distance_px(landmarks: np.ndarray) -> np.ndarray:
    """Outer-eye distance [*b] in the image plane: the unit of every landmark error."""
    corners = landmarks[..., mesh468.OUTER_EYE_CORNERS, :2]
    return np.linalg.norm(corners[..., 0, :] - corners[..., 1, :], axis=-1)


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """Lip opening [*b]: distance of points 13-14 over the outer-eye distance, in the image plane."""
    inner = landmarks[..., [mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER], :2]
    gap = np.linalg.norm(inner[..., 0, :] - inner[..., 1, :], axis=-1)
    return gap / np.maximum(eye_distance_px(landmarks), 1e-6)


def canonical_frame(verts: np.ndarray) -> np.ndarray:
    """Moves, turns and scales a face [468 3] into the model frame.

    Origin between the outer eye corners, x through them to image right, y up along the line from chin to
    forehead, z out of the face, `EYE_DISTANCE_DM` between the corners.
    """
    right, left = verts[mesh468.RIGHT_EYE_OUTER], verts[mesh468.LEFT_EYE_OUTER]
    x_axis = (left - right) / np.linalg.norm(left - right)
    up = verts[mesh468.FOREHEAD_TOP] - verts[mesh468.CHIN]
    up = up - x_axis * (up @ x_axis)
    up /= np.linalg.norm(up)
    axes = np.stack([x_axis, up, np.cross(x_axis, up)])
    return (verts - (left + right) / 2) @ axes.T * (EYE_DISTANCE_DM / np.linalg.norm(left - right))


def usable_frames(
    landmarks: np.ndarray, size: tuple[int, int], valid: np.ndarray | None = None
) -> np.ndarray:
    """Frames [t] bool with finite points, all inside the image (outside ones are the network's guess)."""
    points = np.asarray(landmarks)[:, : mesh468.N_MESH]
    finite = np.isfinite(points).all((1, 2))
    inside = ((points[..., :2] >= 0) & (points[..., :2] <= np.asarray(size))).all((1, 2))
    usable = finite & inside
    return usable if valid is None else usable & np.asarray(valid, bool)


def lift_neutral(
    landmarks: np.ndarray,
    size: tuple[int, int],
    valid: np.ndarray | None = None,
    min_closed: int = MIN_CLOSED_FRAMES,
) -> np.ndarray:
    """The person's closed-lip neutral in the canonical frame.

    Args:
      landmarks: [t 478 3] px, z smaller = nearer.
      size: (width, height) of the image in px.
      valid: [t] bool, frames to trust; all when omitted.
      min_closed: closed-lip frames wanted; a neutral from few is noisier.

    Returns:
      [468 3] float64 dm.

    Raises:
      InputError: fewer than `MIN_FRAMES` usable or `min_closed` closed-lip frames.
    """
    usable = usable_frames(landmarks, size, valid)
    if usable.sum() < MIN_FRAMES:
        raise InputError(
            f"only {int(usable.sum())} frames show the whole face",
            expected=f"at least {MIN_FRAMES}",
            fix="use a longer clip in which the face is inside the picture",
            code="too_few_face_frames",
        )
    points = np.asarray(landmarks, np.float64)[usable, : mesh468.N_MESH]
    gap = lip_gap(points)
    if (gap < CLOSED_GAP).sum() < min_closed:
        raise InputError(
            f"lips are closed in only {int((gap < CLOSED_GAP).sum())} frames",
            expected=f"at least {min_closed}",
            fix="use a clip in which the person closes the mouth for about a second in all",
            code="no_closed_lips",
        )
    aligned = _align(points * _TO_Y_UP)
    return canonical_frame(np.median(aligned[closed_frames(points)], axis=0))


def closed_frames(landmarks: np.ndarray) -> np.ndarray:
    """Indices of the frames that count as closed-lip, most closed first: at most 30 % of all."""
    gap = lip_gap(landmarks)
    n_closed = max(MIN_CLOSED_FRAMES, int(_CLOSED_SHARE * len(gap)))
    return np.argsort(gap, kind="stable")[: min(n_closed, int((gap < CLOSED_GAP).sum()))]


def _align(points: np.ndarray) -> np.ndarray:
    """Brings all frames [t 468 3] onto their common mean by similarity transforms of the stable points."""
    iod = eye_distance_px(points)
    right, left = mesh468.OUTER_EYE_CORNERS
    nose = points[:, mesh468.NOSE_TIP, 0]
    skew = np.abs((nose - points[:, right, 0]) - (points[:, left, 0] - nose)) / np.maximum(iod, 1e-6)
    reference = points[np.argmin(skew)]  # start from the most frontal frame
    aligned = points
    for _ in range(_ROUNDS):
        reference = reference / np.linalg.norm(reference[right] - reference[left])
        scale, matrix, offset = similarity(points[:, mesh468.STABLE], reference[mesh468.STABLE])
        aligned = scale[:, None, None] * points @ matrix.transpose(0, 2, 1) + offset[:, None]
        reference = aligned.mean(0)
    return aligned


def rigid_pose(landmarks: np.ndarray, neutral: np.ndarray, camera: Camera) -> Pose:
    """A first pose per frame from the stable points' 3D, under weak perspective.

    Args:
      landmarks: [t n 3] px, finite.
      neutral: [468 3] dm; NaN where the model lacks a landmark.

    Returns:
      Pose [t]; good to a few degrees, a start for the fit.
    """
    neutral = np.asarray(neutral, np.float64)
    kept = mesh468.STABLE[np.isfinite(neutral[mesh468.STABLE]).all(-1)]
    stable = np.asarray(landmarks, np.float64)[:, kept] * _TO_Y_UP
    scale, matrix, offset = similarity(neutral[kept], stable)
    center, focal = np.asarray(camera.center, np.float64), float(camera.focal)
    translation = np.stack(
        [
            (offset[:, 0] - center[0]) / scale,
            (offset[:, 1] + center[1]) / scale,
            float(camera.distance) - focal / scale,
        ],
        axis=1,
    )
    euler = euler_from_rotation(jnp.asarray(matrix, jnp.float32))
    return Pose(euler=euler, translation=jnp.asarray(translation, jnp.float32))
