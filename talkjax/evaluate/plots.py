"""The report's plots, each as the bytes of a PNG. Drawn off screen; no global matplotlib state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from talkjax.evaluate.motion import AXES
from talkjax.evaluate.speech import MAX_LAG, lag_curve
from talkjax.infer.motion_track import MotionTrack

INK, MUTED, GRID = "#1d2430", "#6b7480", "#e6e8ec"
REAL, RESULT, THIRD = "#1d2430", "#d1495b", "#2a7f9e"
COLORS = (REAL, RESULT, THIRD, "#c98a1b")


def _axes(rows: int, height: float, ratios: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10.4, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if ratios is None:
        axes = list(np.atleast_1d(figure.subplots(rows, 1, sharex=True)))
    else:
        axes = list(figure.subplots(1, len(ratios), width_ratios=ratios))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GRID)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=MUTED, labelsize=8, length=0)
        ax.xaxis.label.set(color=MUTED, size=9)
        ax.yaxis.label.set(color=MUTED, size=9)
    return figure, axes


def _legend(ax: Axes) -> None:
    ax.legend(
        frameon=False, fontsize=8, labelcolor=INK, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0)
    )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def plot_lip_opening(real: np.ndarray, out: np.ndarray, fps: float = 25.0, first_frame: int = 0) -> bytes:
    """Lip opening of the real clip and the result over time, and their correlation over the lag.

    Args:
      real, out: `[t]` lip opening over the eye distance.
      first_frame: clip frame of the first value, for the time axis.
    """
    figure, (ax, lag_ax) = _axes(1, 2.9, ratios=(4, 1))
    seconds = (first_frame + np.arange(len(real))) / fps
    ax.plot(seconds, 100 * real, color=REAL, linewidth=1.1, label="real")
    ax.plot(seconds, 100 * out, color=RESULT, linewidth=1.3, label="result")
    ax.set(xlabel="seconds of the clip", ylabel="lip opening, % of eye distance", ylim=(0, None))
    ax.margins(x=0)
    _legend(ax)
    lags, values = lag_curve(real, out)
    lag_ax.axvline(0, color=GRID, linewidth=0.8)
    lag_ax.plot(lags, values, color=RESULT, marker="o", markersize=3, linewidth=1.2)
    lag_ax.set(xlabel="lag, frames (right: result late)", ylabel="r", xticks=(-MAX_LAG, 0, MAX_LAG))
    return _png(figure)


def plot_curves(
    series: Mapping[str, np.ndarray], label: str, fps: float = 25.0, first_frame: int = 0
) -> bytes:
    """Shares over time, `[t]` each, in percent: the real clip first, then predictions."""
    figure, (ax,) = _axes(1, 2.9)
    for color, (name, values) in zip(COLORS, series.items(), strict=False):
        ax.plot(
            (first_frame + np.arange(len(values))) / fps, 100 * values, color=color, linewidth=1.2, label=name
        )
    ax.set(xlabel="seconds of the clip", ylabel=label)
    ax.margins(x=0)
    _legend(ax)
    return _png(figure)


def plot_pose(poses: Mapping[str, np.ndarray], fps: float = 25.0, first_frame: int = 0) -> bytes:
    """Pitch, yaw and roll over time of each named motion `[t 3]` radians, e.g. `real` and `result`."""
    figure, axes = _axes(3, 4.6)
    for color, (label, euler) in zip(COLORS, poses.items(), strict=False):
        seconds = (first_frame + np.arange(len(euler))) / fps
        for ax, angle in zip(axes, np.rad2deg(np.asarray(euler)).T, strict=True):
            ax.plot(seconds, angle, color=color, linewidth=1.1, label=label)
    for ax, name in zip(axes, AXES, strict=True):
        ax.set_ylabel(f"{name}, degrees")
        ax.margins(x=0)
    axes[-1].set_xlabel("seconds")
    _legend(axes[0])
    return _png(figure)


def plot_track(tracks: Mapping[str, MotionTrack], fps: float = 25.0) -> bytes:
    """Angles, lids and gaze of named motion tracks over time; what a track does not say is left out."""
    figure, axes = _axes(5, 6.6)
    for color, (label, track) in zip(COLORS, tracks.items(), strict=False):
        seconds = np.arange(len(track)) / fps
        for ax, angle in zip(axes, np.rad2deg(track.euler).T, strict=False):
            ax.plot(seconds, angle, color=color, linewidth=1.1, label=label)
        if track.lid is not None:
            axes[3].plot(seconds, track.lid, color=color, linewidth=1.0)
        if track.gaze is not None:
            axes[4].plot(seconds, track.gaze[:, 0], color=color, linewidth=1.0)
            axes[4].plot(seconds, track.gaze[:, 1], color=color, linewidth=0.8, linestyle=":")
    for ax, name in zip(axes, (*(f"{a}, degrees" for a in AXES), "lid", "gaze x, y (dots)"), strict=True):
        ax.set_ylabel(name)
        ax.margins(x=0)
    axes[-1].set_xlabel("seconds")
    _legend(axes[0])
    return _png(figure)


def plot_frame_quality(
    series: Mapping[str, np.ndarray], first_frame: int = 0, label: str = "PSNR, dB"
) -> bytes:
    """A figure per frame, e.g. face PSNR of the bare render and of the result, `[t]` each (nan: a gap)."""
    figure, (ax,) = _axes(1, 2.6)
    for color, (name, values) in zip((MUTED, RESULT, THIRD, REAL), series.items(), strict=False):
        ax.plot(first_frame + np.arange(len(values)), values, color=color, linewidth=1.2, label=name)
    ax.set(xlabel="frame of the clip", ylabel=label)
    ax.margins(x=0)
    _legend(ax)
    return _png(figure)


def plot_tracking(
    euler: np.ndarray,
    translation: np.ndarray,
    exp: np.ndarray,
    exp_names: Sequence[str],
    valid: np.ndarray,
    fps: float = 25.0,
) -> bytes:
    """Head pose and expression of a tracked clip over time.

    Args:
      euler: `[t 3]` radians. translation: `[t 3]` dm, drawn as centimeters from its median.
      exp: `[t e]` coefficients: all as a map, the six that move most also as lines.
      valid: `[t]`; stretches without a face are shaded.
    """
    n_exp = exp.shape[1]
    figure = Figure(figsize=(11, 7.2 + 0.13 * n_exp), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(4, 1, sharex=True, height_ratios=(2, 2, 2.4, max(0.13 * n_exp, 1.5))))
    seconds = np.arange(len(exp)) / fps
    moved = 10 * (translation - np.median(translation, axis=0))
    lines = (
        (axes[0], np.rad2deg(euler), AXES, "head angle, degrees"),
        (axes[1], moved, ("right", "up", "toward the camera"), "head position, cm from its median"),
    )
    for ax, values, names, label in lines:
        for color, name, column in zip(COLORS, names, values.T, strict=False):
            ax.plot(seconds, column, color=color, linewidth=1.1, label=name)
        ax.set_ylabel(label)
    strongest = np.argsort(-exp.std(0))[:6]
    for k, color in zip(sorted(strongest), (*COLORS, "#5c8a3a", "#8a5ca8"), strict=False):
        axes[2].plot(seconds, exp[:, k], color=color, linewidth=1.0, label=exp_names[k])
    axes[2].set_ylabel("expression coefficient")
    limit = max(float(np.percentile(np.abs(exp), 99.5)), 0.1)
    extent = (-0.5 / fps, (len(exp) - 0.5) / fps, n_exp - 0.5, -0.5)
    image = axes[3].imshow(
        exp.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, interpolation="nearest"
    )
    figure.colorbar(image, ax=axes[3], label="expression coefficient", pad=0.01, aspect=30)
    step = max(1, n_exp // 60)
    axes[3].set_yticks(range(0, n_exp, step), [exp_names[k] for k in range(0, n_exp, step)], fontsize=6)
    axes[3].set_xlabel("seconds")
    edges = np.flatnonzero(np.diff(np.r_[False, ~np.asarray(valid, bool), False].astype(int)))
    for ax in axes[:3]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.margins(x=0)
        _legend(ax)
        for first, last in edges.reshape(-1, 2):
            ax.axvspan(first / fps, last / fps, color=GRID)
    figure.align_ylabels(axes[:3])
    return _png(figure)
