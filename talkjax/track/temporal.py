"""Pose and expression of every frame of a clip, smooth in time, with the identity frozen.

Each frame is fitted alone first; then one Gauss-Newton problem over the whole clip adds a prior on second
differences. Its matrix is banded (two frames to each side), so a banded Cholesky solves it (face.md §3, §5).
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float
from scipy.linalg import solveh_banded

from talkjax.errors import InputError
from talkjax.face.model import face_verts
from talkjax.face.points import points_at
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.track import gauss_newton as gn
from talkjax.track.bundle import EFFECTIVE_FRAMES, initial_theta
from talkjax.types import Camera, FaceModel, Pose

ACCELERATION_SIGMA = {
    "euler": 0.012,
    "xy": 0.01,
    "depth": 0.015,
    "face": 0.35,
    "mouth": 0.5,
    "lids": 0.7,
    "blink": 2.0,
}
"""Standard deviation of second differences per frame^2: radians, dm, dm, then coefficients.

After face.md §5, which has one value for all expressions; that halves a blink, which shuts in two frames.
"""

_KIND_OF_AXIS = {
    "blink": "blink",
    **dict.fromkeys(("squint", "wide"), "lids"),
    **dict.fromkeys(("brow", "sneer", "cheek", "puff"), "face"),
}
"""What an axis' name contains, in any case of letters -> its kind; all other axes are the mouth's."""

MIN_FRAMES = 3
_DATA_SHARE = 1 / EFFECTIVE_FRAMES  # a frame's 936 residuals repeat each other about this much
_DRIFT_FRAMES = 5.0  # a head that is not seen comes to rest within about so many frames
_ITERATIONS, _TERM_ITERATIONS = 12, 5
_WINDOW, _OVERLAP = 1500, 50


@struct.dataclass
class FaceTrack:
    """Head pose and expression per frame; `valid` marks the frames that were seen, others are bridged."""

    pose: Pose
    exp_coeffs: Float[Array, "t e"]
    valid: Bool[Array, "t"]


def fit_track(
    model: FaceModel,
    landmarks: np.ndarray,
    valid: np.ndarray,
    camera: Camera,
    init: tuple[Pose, np.ndarray] | None = None,
) -> FaceTrack:
    """Fits a clip, or any stretch of at least `MIN_FRAMES` frames, with the model's mean as identity.

    Args:
      model: the person.
      landmarks: [t 478 3] px at 25 fps.
      valid: [t] bool; other frames carry no data and are bridged by the prior.
      camera: the one the model was fitted with.
      init: (Pose [t], exp_coeffs [t e]) to start from, e.g. of `fit_identity`.

    Raises:
      InputError: fewer than `MIN_FRAMES` valid frames.
    """
    observed, scale = gn.observations(landmarks, valid)
    used = np.flatnonzero(scale > 0)
    if len(used) < MIN_FRAMES:
        raise InputError(
            f"only {len(used)} of {len(observed)} frames have a face",
            expected=f"at least {MIN_FRAMES}",
            fix="use a stretch in which the face is found",
            code="too_few_face_frames",
        )
    problem = gn.make_problem(model, camera, free_identity=False)
    if init is None:
        start = initial_theta(model, np.asarray(landmarks)[used], camera)
    else:
        start = np.concatenate([np.asarray(p) for p in (init[0].euler, init[0].translation, init[1])], 1)[
            used
        ]
    alone = gn.fit_frames(problem, start, observed[used], scale[used])
    weight = _acceleration_weight(model.exp_names)
    theta = _smooth_windows(problem, gn.bridge(alone, used, len(observed)), observed, scale, weight)
    return track_of(theta, scale > 0)


class DataTerm(Protocol):
    """One more thing that a clip's frames say about their unknowns, in the units of the landmark term."""

    def rows(self, low: int, high: int) -> DataTerm: ...

    def linearize(self, theta: np.ndarray) -> gn.Blocks: ...

    def cost(self, theta: np.ndarray) -> np.ndarray: ...


def smooth_track(
    model: FaceModel,
    track: FaceTrack,
    landmarks: np.ndarray,
    camera: Camera,
    term: DataTerm,
    mark_weight: float = _DATA_SHARE,
) -> FaceTrack:
    """The track moved to agree with one more term, under the same prior over time; `mark_weight` is of a
    landmark's squared error in % of the eye distance."""
    valid = np.asarray(track.valid)
    observed, scale = gn.observations(landmarks, valid)
    start = np.concatenate(
        [np.asarray(p) for p in (track.pose.euler, track.pose.translation, track.exp_coeffs)], 1
    )
    scale = scale * np.float32(np.sqrt(mark_weight / _DATA_SHARE))
    problem = gn.make_problem(model, camera, free_identity=False)
    weight = _acceleration_weight(model.exp_names)
    theta = _smooth_windows(problem, start.astype(np.float64), observed, scale, weight, term)
    return track_of(theta, valid)


def track_of(theta: np.ndarray, valid: np.ndarray) -> FaceTrack:
    """The unknowns [t 6+e] of a fit as a track."""
    return FaceTrack(
        pose=Pose(
            euler=jnp.asarray(theta[:, :3], jnp.float32),
            translation=jnp.asarray(theta[:, 3:6], jnp.float32),
        ),
        exp_coeffs=jnp.asarray(theta[:, gn.POSE_SIZE :], jnp.float32),
        valid=jnp.asarray(valid),
    )


def _smooth_windows(
    problem: gn.LandmarkProblem,
    theta: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
    weight: np.ndarray,
    term: DataTerm | None = None,
) -> np.ndarray:
    """`_smooth` over the clip; long clips in overlapping windows, since the prior forgets within a second."""
    out = np.empty_like(theta)
    for start in range(0, len(theta), _WINDOW):
        end = start + _WINDOW
        low, high = max(start - _OVERLAP, 0), min(end + _OVERLAP, len(theta))
        more = None if term is None else term.rows(low, high)
        part = _smooth(problem, theta[low:high], observed[low:high], scale[low:high], weight, more)
        out[start:end] = part[start - low : end - low]
    return out


def _acceleration_weight(exp_names: tuple[str, ...]) -> np.ndarray:
    """1 / sigma^2 [6+e] of each unknown's second difference."""
    kinds = ["euler"] * 3 + ["xy"] * 2 + ["depth"]
    for name in exp_names:
        words = [kind for word, kind in _KIND_OF_AXIS.items() if word in name.lower()]
        kinds.append(words[0] if words else "mouth")
    return np.array([ACCELERATION_SIGMA[kind] for kind in kinds]) ** -2.0


def _stiffness(blind: np.ndarray) -> list[np.ndarray]:
    """Diagonals 0, 1, 2 of the time prior D2'D2 + D1'D1 / 25 for frames `blind` [t] without data.

    D2 are second differences. The first differences D1 act only next to blind frames: without them a
    head that leaves the picture would go on turning for ever.
    """
    n_frames = len(blind)
    diagonals = [np.zeros(max(n_frames - step, 0)) for step in range(3)]
    second, first = np.ones(max(n_frames - 2, 0)), (blind[1:] | blind[:-1]) / _DRIFT_FRAMES**2
    for rows, taps in ((second, (1.0, -2.0, 1.0)), (first, (-1.0, 1.0))):
        for i, a in enumerate(taps):
            for j in range(i, len(taps)):
                diagonals[j - i][i : i + len(rows)] += a * taps[j] * rows
    return diagonals


def _times_stiffness(diagonals: list[np.ndarray], theta: np.ndarray) -> np.ndarray:
    """The banded symmetric matrix times theta [t m]."""
    out = diagonals[0][:, None] * theta
    for step in (1, 2):
        if len(diagonals[step]):
            out[:-step] += diagonals[step][:, None] * theta[step:]
            out[step:] += diagonals[step][:, None] * theta[:-step]
    return out


def _banded(hessian: np.ndarray, diagonals: list[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Lower band storage [2m+1, t m] of the clip's matrix: frame blocks [t m m] plus the stiffness."""
    n_frames, size, _ = hessian.shape
    band = np.zeros((2 * size + 1, n_frames, size))
    for below in range(size):
        band[below, :, : size - below] = np.diagonal(hessian, -below, axis1=1, axis2=2)
    for step, diagonal in enumerate(diagonals):
        band[step * size, : n_frames - step] += diagonal[:, None] * weight
    return band.reshape(2 * size + 1, n_frames * size)


def _smooth(
    problem: gn.LandmarkProblem,
    theta: np.ndarray,
    observed: np.ndarray,
    scale: np.ndarray,
    weight: np.ndarray,
    term: DataTerm | None = None,
) -> np.ndarray:
    """Minimizes (data + expression prior) / EFFECTIVE_FRAMES + time prior over a stretch of frames."""
    alpha = np.zeros(0)
    diagonals = _stiffness(scale == 0)
    index = np.arange(gn.POSE_SIZE, theta.shape[1])

    def total(theta: np.ndarray) -> float:
        prior = gn.expression_prior(problem, theta[:, gn.POSE_SIZE :], _DATA_SHARE)[0]
        motion = (theta * _times_stiffness(diagonals, theta) * weight).sum()
        data = gn.data_cost(problem, theta, alpha, observed, scale)
        more = 0.0 if term is None else term.cost(theta).sum()
        return float(data.sum() * _DATA_SHARE + prior.sum() + motion + more)

    mu, cost = 1e-4, total(theta)
    for _ in range(_ITERATIONS if term is None else _TERM_ITERATIONS):
        blocks = gn.linearize(problem, theta, alpha, observed, scale)
        _, prior_gradient, prior_diagonal = gn.expression_prior(
            problem, theta[:, gn.POSE_SIZE :], _DATA_SHARE
        )
        hessian, gradient = blocks.hessian * _DATA_SHARE, blocks.gradient * _DATA_SHARE
        if term is not None:
            seen = term.linearize(theta)
            hessian, gradient = hessian + seen.hessian, gradient + seen.gradient
        gradient += _times_stiffness(diagonals, theta) * weight
        hessian[:, index, index] += prior_diagonal
        gradient[:, gn.POSE_SIZE :] += prior_gradient
        band = _banded(gn.damp(hessian, mu), diagonals, weight)
        step = solveh_banded(band, gradient.ravel(), lower=True, overwrite_ab=True).reshape(theta.shape)
        trial = total(theta - step)
        if not trial < cost:
            mu = max(mu * 10, 1e-4)
            continue
        gain, theta, cost, mu = (cost - trial) / cost, theta - step, trial, mu / 10
        if gain < 1e-4:
            break
    return theta


def project_track(model: FaceModel, track: FaceTrack, camera: Camera) -> Float[Array, "t 468 2"]:
    """Where the track puts the landmarks, px; identity is the model's mean."""
    no_identity = jnp.zeros((model.id_basis.shape[0],))
    verts = points_at(face_verts(model, no_identity, track.exp_coeffs), model.landmarks)
    return project(apply_pose(verts, track.pose), camera)


def landmark_error(model: FaceModel, track: FaceTrack, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Distance of the track's landmarks to the observed ones, % of the frame's outer-eye distance.

    Returns:
      [t 468]; NaN in frames that are not valid.
    """
    observed, scale = gn.observations(landmarks, np.asarray(track.valid))
    distance = np.linalg.norm(np.asarray(project_track(model, track, camera)) - observed, axis=-1)
    return np.where(scale[:, None] > 0, distance * scale[:, None], np.nan)
