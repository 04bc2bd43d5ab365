"""What is personal about head motion, as numbers from the training frames, and back to a motion.

A motion is described by six series: pitch, yaw, roll, and the part of the translation that does not follow
from them (a head turns about the neck, so most of its translation does). Each series is mapped to a standard
normal one by the person's own distribution. Generators work on those normal series; whatever they make has
the person's mean, spread and range by construction when mapped back.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline
from scipy.special import ndtri

SERIES = 6
KEY_STRIDE = 3
"""Generators work at every third frame, 8.3 Hz; a real head is within 0.07 degrees of the spline between."""
QUANTILES = 401
SMOOTHING = 0.12  # of a series' spread
TAIL = 0.06  # of a series' range: how far the rarest value of a draw lies outside it
SPEED_QUANTILE = 99.9
SPEED_MARGIN = 1.1  # of the speed that the person hardly ever exceeds


@dataclasses.dataclass(frozen=True)
class HeadStyle:
    """A person's head motion without its course in time.

    quantiles: `[6 q]` of the six series, radians and dm. coupling: `[4 3]`, translation that follows from
    (1, sin pitch, sin yaw, sin roll). speed: `[6]` highest change per frame. mean_euler: `[3]`.
    """

    quantiles: np.ndarray
    coupling: np.ndarray
    speed: np.ndarray
    mean_euler: np.ndarray

    def followed(self, euler: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
        """The translation that follows from the angles."""
        return _design(euler) @ self.coupling


def _design(euler: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(euler), 1)), np.sin(np.asarray(euler, np.float64))], 1)


def fit_head_style(
    euler: Float[np.ndarray, "t 3"], translation: Float[np.ndarray, "t 3"], valid: Bool[np.ndarray, "t"]
) -> tuple[HeadStyle, Float[np.ndarray, "t 6"]]:
    """The style of training frames, and their six series as normal ones.

    Frames that are not `valid` take no part in the statistics; their series are bridged as tracked.
    """
    used = np.flatnonzero(valid)
    euler, translation = np.asarray(euler, np.float64), np.asarray(translation, np.float64)
    design = _design(euler)
    penalty = 1e-3 * len(used) * np.diag([0, 1, 1, 1]) * np.var(np.sin(euler[used]), axis=0).mean()
    normal = design[used].T @ design[used] + penalty
    coupling = np.linalg.solve(normal, design[used].T @ translation[used])
    series = np.concatenate([euler, translation - design @ coupling], 1)
    speeds = np.abs(np.diff(series, axis=0))[valid[1:] & valid[:-1]]
    style = HeadStyle(
        quantiles=np.stack([_smooth_quantiles(column) for column in series[used].T]),
        coupling=coupling,
        speed=np.percentile(speeds, SPEED_QUANTILE, axis=0) if len(speeds) else np.full(SERIES, np.inf),
        mean_euler=euler[used].mean(0),
    )
    return style, to_normal(style, series)


def normal_levels() -> Float[np.ndarray, "q"]:
    """The normal values at which `HeadStyle.quantiles` are given."""
    return ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)


def _smooth_quantiles(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "q"]:
    """Quantiles of the values' distribution smoothed by a little noise: a few seconds have gaps and hard
    ends, where a motion would jump or stand still."""
    spread = SMOOTHING * max(values.std(), 1e-6)
    noise = ndtri((np.arange(15) + 0.5) / 15)
    cloud = (values[:, None] + spread * noise).ravel()
    return np.quantile(cloud, (np.arange(QUANTILES) + 0.5) / QUANTILES)


def to_normal(style: HeadStyle, series: Float[np.ndarray, "t 6"]) -> Float[np.ndarray, "t 6"]:
    """Each series through the person's distribution to a standard normal one."""
    levels = normal_levels()
    return np.stack(
        [np.interp(values, table, levels) for values, table in zip(series.T, style.quantiles, strict=True)], 1
    )


def from_normal(style: HeadStyle, normal: Float[np.ndarray, "t 6"]) -> Float[np.ndarray, "t 6"]:
    """The inverse: series that hardly leave what the person did."""
    levels = normal_levels()
    ends = np.array([-4.0, 4.0])
    columns = []
    for z, table in zip(normal.T, style.quantiles, strict=True):
        beyond = TAIL * (table[-1] - table[0]) * np.array([-1.0, 1.0])
        known = np.r_[ends[0], levels, ends[1]]
        columns.append(np.interp(z, known, np.r_[table[0] + beyond[0], table, table[-1] + beyond[1]]))
    return np.stack(columns, 1)


def key_count(n_frames: int) -> int:
    """How many keys a motion of `n_frames` needs, with one beyond each end."""
    return -(-n_frames // KEY_STRIDE) + 3


def play_keys(
    style: HeadStyle, normal: Float[np.ndarray, "k 6"], n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """A motion from its normal series at the keys: euler `[t 3]` radians, translation `[t 3]` dm."""
    keys = from_normal(style, normal)
    at = (np.arange(len(keys)) - 1) * KEY_STRIDE
    series = CubicSpline(at, keys)(np.arange(n_frames))
    series = limit_speed(series, SPEED_MARGIN * style.speed)
    euler = series[:, :3]
    return euler, style.followed(euler) + series[:, 3:]


def limit_speed(series: Float[np.ndarray, "t c"], limit: Float[np.ndarray, "c"]) -> Float[np.ndarray, "t c"]:
    """The series with no change per frame above `limit`.

    A follower that may not move faster, run forward and run backward; their mean keeps the limit too and
    comes neither late nor early.
    """
    ahead, back = series.copy(), series.copy()
    if not (np.abs(np.diff(series, axis=0)) > limit).any():
        return series
    for k in range(1, len(series)):
        ahead[k] = ahead[k - 1] + np.clip(series[k] - ahead[k - 1], -limit, limit)
        back[-1 - k] = back[-k] + np.clip(series[-1 - k] - back[-k], -limit, limit)
    return (ahead + back) / 2
