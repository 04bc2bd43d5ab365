"""From tracked landmarks and poses to plain dicts of figures: JSON-able, with stable keys.

Pictures are measured by `meter.PictureMeter`. Numbers that could not be measured (a constant series, a video
without a face) are None, never nan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from talkjax.evaluate import motion, speech
from talkjax.evaluate.meter import PictureMeter, mean_of_measured, picture_figures, plain
from talkjax.face import mesh468

__all__ = [
    "PictureMeter",
    "eye_figures",
    "fit_figures",
    "head_motion_figures",
    "motion_figures",
    "picture_figures",
    "plain",
    "pose_noise_figures",
    "silence_figures",
    "speech_figures",
]


def _series_figures(real: np.ndarray, out: np.ndarray) -> dict[str, Any]:
    r = speech.pearson(real, out)
    lag, r_at_lag = speech.best_lag(real, out)
    control = speech.shift_control(real, out)
    known = math.isfinite(r) and math.isfinite(control)
    return {
        "r": r,
        "lag": lag if math.isfinite(r_at_lag) else None,
        "r_at_lag": r_at_lag,
        "amplitude": speech.amplitude_ratio(real, out),
        "control_p99": control,
        "above_control": r > control if known else None,
    }


def speech_figures(landmarks_real: np.ndarray, landmarks_out: np.ndarray) -> dict[str, Any]:
    """Lip opening, lip width and LMD of two tracked videos `[t 478 2+]` px of equal length (nan: no face)."""
    if len(landmarks_real) != len(landmarks_out):
        raise ValueError(f"videos differ in length: real {len(landmarks_real)}, result {len(landmarks_out)}")
    distance = speech.lip_landmark_distance(landmarks_real, landmarks_out)
    return plain(
        {
            "frames": int(np.isfinite(distance).sum()),
            "opening": _series_figures(speech.lip_opening(landmarks_real), speech.lip_opening(landmarks_out)),
            "width": _series_figures(speech.lip_width(landmarks_real), speech.lip_width(landmarks_out)),
            "lmd": mean_of_measured(distance),
        }
    )


def motion_figures(
    landmarks_real: np.ndarray, landmarks_out: np.ndarray, fps: float = 25.0
) -> dict[str, Any]:
    """Steadiness and blinks of two tracked videos `[t 478 2+]` px; they need not be equally long."""
    return plain(
        {
            "jitter": motion.jitter_ratio(landmarks_real, landmarks_out),
            "jitter_real": motion.second_difference(landmarks_real),
            "jitter_out": motion.second_difference(landmarks_out),
            "blinks_per_minute": {
                "real": motion.blink_rate(landmarks_real, fps),
                "out": motion.blink_rate(landmarks_out, fps),
            },
        }
    )


def pose_noise_figures(euler: np.ndarray) -> dict[str, Any]:
    """High-pass noise in degrees of `[t 3]` radians: `pitch`, `yaw`, `roll`."""
    return plain(dict(zip(motion.AXES, motion.pose_noise(euler), strict=True)))


def _compare_poses(generated: Sequence[np.ndarray], reference: np.ndarray) -> dict[str, Any]:
    similarity = [motion.histogram_similarity(euler, reference)[0] for euler in generated]
    ratios = np.mean([motion.std_ratios(euler, reference) for euler in generated], axis=0)
    speeds = np.mean([motion.speed_ratios(euler, reference) for euler in generated], axis=0)
    return {
        "hs": float(np.mean(similarity)),
        "std_ratio": dict(zip(motion.AXES, ratios, strict=True)),
        "speed_ratio": dict(zip(motion.AXES, speeds, strict=True)),
        "spectrum_db": float(np.mean([motion.spectrum_distance(euler, reference) for euler in generated])),
    }


def head_motion_figures(
    generated: Sequence[np.ndarray], training: np.ndarray, heldout: np.ndarray | None = None
) -> dict[str, Any]:
    """Generated head motion, one `[t 3]` radians per seed, against the training and the held-out motion.

    `heldout_by_training` is what the training motion itself scores against the held-out one: the ceiling;
    `heldout_share` the generated motion's similarity over that. `seed_correlation`, `loop_peak` and
    `jump_ratio` are the worst of all motions.
    """
    figures: dict[str, Any] = {
        "seeds": len(generated),
        "seed_correlation": motion.seed_correlation(generated),
        "loop_peak": max(motion.loop_peak(euler) for euler in generated),
        "jump_ratio": max(motion.jump_ratio(euler, training) for euler in generated),
        "against_training": _compare_poses(generated, training),
    }
    if heldout is not None and len(heldout):
        figures["against_heldout"] = _compare_poses(generated, heldout)
        figures["heldout_by_training"] = _compare_poses([training], heldout)
        own = figures["heldout_by_training"]["hs"]
        figures["heldout_share"] = figures["against_heldout"]["hs"] / own if own > 0 else float("nan")
    return plain(figures)


def eye_figures(generated: Sequence[np.ndarray], training: np.ndarray, fps: float = 25.0) -> dict[str, Any]:
    """Blinks of generated lids against the training frames', each as landmarks `[t 478 2+]`.

    Rates and durations of the generated ones are means over the motions.
    """
    rate = float(np.mean([motion.blink_rate(lids, fps) for lids in generated]))
    length = mean_of_measured(np.array([motion.blink_duration(lids, fps) for lids in generated]))
    real = (motion.blink_rate(training, fps), motion.blink_duration(training, fps))
    return plain(
        {
            "blinks_per_minute": {"real": real[0], "out": rate},
            "blink_seconds": {"real": real[1], "out": length},
            "rate_ratio": rate / real[0] if real[0] > 0 else float("nan"),
            "duration_ratio": length / real[1],
        }
    )


def silence_figures(
    landmarks_silence: Mapping[str, np.ndarray], landmarks_speech: np.ndarray
) -> dict[str, Any]:
    """Lip speed relative to speech for each kind of silence, e.g. `digital` and `noise`."""
    return plain(
        {kind: motion.silence_ratio(track, landmarks_speech) for kind, track in landmarks_silence.items()}
    )


def fit_figures(
    fitted: np.ndarray, landmarks: np.ndarray, train_frames: int, valid: np.ndarray | None = None
) -> dict[str, Any]:
    """Mean distance of the fitted model's points from the tracked ones, in % of the outer-eye distance.

    Args:
      fitted: `[t 468 2+]` px, the model projected; landmarks: `[t 478 2+]` px.
      train_frames: frames before this one are `train`, the others `heldout`.
    """
    tracked = np.asarray(landmarks, np.float64)
    points = tracked[:, : mesh468.N_MESH, :2]
    error = np.linalg.norm(np.asarray(fitted, np.float64)[:, : mesh468.N_MESH, :2] - points, axis=-1)
    error = 100 * error / speech.eye_distance(tracked)[:, None]
    if valid is not None:
        error[~np.asarray(valid, bool)] = np.nan
    return plain(
        {
            name: {
                "all": mean_of_measured(part.mean(axis=1)),
                "lips": mean_of_measured(part[:, mesh468.LIPS].mean(axis=1)),
            }
            for name, part in (("train", error[:train_frames]), ("heldout", error[train_frames:]))
        }
    )
