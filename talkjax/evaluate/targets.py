"""The figures that a build must reach on the development clip, as one table over `metrics.json`.

Layout of the metrics (all parts optional; what is missing is shown as not measured):

    clip      {identity, width, height, frames, train_frames, heldout_frames, preset, all_frames, ...}
    tracking  {missed, missed_half, missed_third}      frames without a face at full, half and third size
    fit       figures.fit_figures(...)                 % of the outer-eye distance
    pose_noise figures.pose_noise_figures(...)         degrees
    drives    {tracked | tracked_matched | audio | free:
                 {mouth: mouth.mouth_figures(...), picture: PictureMeter.result(), speech:
                 speech_figures(...), motion: motion_figures(...),
                  flicker: FlickerMeter.result()}}
    head_motion, eyes, silence                         figures.head_motion_figures, eye_figures, ...
    times     {prepare: {seconds, gib}, finetune: {seconds, gib}, generate: {fps, gib}, demo: {seconds}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Target(NamedTuple):
    """One demand: the figure at `path` (dotted) must lie in [low, high]."""

    name: str
    path: str
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""

    @property
    def text(self) -> str:
        """The demand in words, e.g. `>= 28 dB` with the proper signs."""
        unit = f" {self.unit}" if self.unit and self.unit != "°" else self.unit
        if self.low == self.high:
            return f"{self.low:g}{unit}"
        if math.isinf(self.low):
            return f"≤ {self.high:g}{unit}"
        if math.isinf(self.high):
            return f"≥ {self.low:g}{unit}"
        if self.low == -self.high:
            return f"within ±{self.high:g}{unit}"
        return f"{self.low:g} – {self.high:g}{unit}"


class Row(NamedTuple):
    """One line of the table; `value` and `ok` are None where the figure was not measured."""

    name: str
    value: float | None
    target: str
    ok: bool | None


_TRACKED, _AUDIO = "drives.tracked.picture", "drives.audio.speech.opening"
_HEAD = "head_motion.against_training"

_MOUTH = "drives.audio.mouth.dimensions"

TARGETS: tuple[Target, ...] = (
    Target("Frames without a tracked face", "tracking.missed", 0, 0),
    Target("… at half size", "tracking.missed_half", 0, 0),
    Target("… at a third of the size", "tracking.missed_third", 0, 0),
    Target("Landmark fit, training frames, all points", "fit.train.all", high=0.80, unit="%"),
    Target("Landmark fit, training frames, lips", "fit.train.lips", high=0.80, unit="%"),
    Target("Landmark fit, held-out frames, all points", "fit.heldout.all", high=0.95, unit="%"),
    Target("Landmark fit, held-out frames, lips", "fit.heldout.lips", high=0.90, unit="%"),
    Target("Head-pose noise, pitch", "pose_noise.pitch", high=0.10, unit="°"),
    Target("Head-pose noise, yaw", "pose_noise.yaw", high=0.10, unit="°"),
    Target("Head-pose noise, roll", "pose_noise.roll", high=0.10, unit="°"),
    Target("Bare render, face PSNR", f"{_TRACKED}.bare.face.psnr", low=27.0, unit="dB"),
    Target("Result, face PSNR", f"{_TRACKED}.out.face.psnr", low=28.0, unit="dB"),
    Target("Result over bare render, face", f"{_TRACKED}.gain.face", low=0.7, unit="dB"),
    Target("Result, face SSIM", f"{_TRACKED}.out.face.ssim", low=0.885),
    Target("Result, mouth PSNR", f"{_TRACKED}.out.mouth.psnr", low=25.7, unit="dB"),
    Target("Result over bare render, mouth", f"{_TRACKED}.gain.mouth", low=0.7, unit="dB"),
    Target("Sharpness of the face, ratio to real", f"{_TRACKED}.out.face.sharpness", 0.5, 1.2),
    Target("Sharpness of the mouth, ratio to real", f"{_TRACKED}.out.mouth.sharpness", 0.5, 1.2),
    Target("Lip opening by sound, correlation r", f"{_AUDIO}.r", low=0.60),
    Target("… above its circular-shift control", f"{_AUDIO}.above_control", 1, 1),
    Target("Lips closed against open by sound, AUC", "drives.audio.mouth.auc_closed", low=0.85),
    Target("Jaw, pucker, stretch, upper lip by sound, mean r", f"{_MOUTH}.mean", low=0.50),
    Target("Lip opening by sound, amplitude", f"{_AUDIO}.amplitude", 0.75, 1.15),
    Target("Lip speed in silence over speech", "silence.digital", high=0.05),
    Target("Lip speed in -50 dB noise over speech", "silence.noise", high=0.05),
    Target("Lip opening by sound, best lag", f"{_AUDIO}.lag", -1, 1, "frames"),
    Target("Jitter, ratio to real, drive tracked", "drives.tracked.motion.jitter", 0.5, 1.2),
    Target("Jitter, ratio to real, drive audio", "drives.audio.motion.jitter", 0.5, 1.2),
    Target("Flicker of the skin, ratio to real, drive tracked", "drives.tracked.flicker.flicker", high=1.1),
    Target("Flicker of the skin, ratio to real, drive audio", "drives.audio.flicker.flicker", high=1.1),
    Target("Head motion, similarity to training", f"{_HEAD}.hs", low=0.8),
    *(
        Target(f"Head motion, {axis} std, ratio to training", f"{_HEAD}.std_ratio.{axis}", 0.7, 1.3)
        for axis in ("pitch", "yaw", "roll")
    ),
    Target("… similarity to held-out, share of training's own", "head_motion.heldout_share", low=0.9),
    Target("Five seeds, largest correlation", "head_motion.seed_correlation", high=0.5),
    Target("… repeats, largest autocorrelation", "head_motion.loop_peak", high=0.6),
    Target("… largest step, ratio to training's 99.9 %", "head_motion.jump_ratio", high=1.2),
    Target("Blinks per minute, ratio to training", "eyes.rate_ratio", 0.7, 1.3),
    Target("Length of blinks, ratio to training", "eyes.duration_ratio", 0.7, 1.3),
    Target("Prepare", "times.prepare.seconds", high=180, unit="s"),
    Target("Finetune", "times.finetune.seconds", high=900, unit="s"),
    Target("Generate, 1280 x 720", "times.generate.fps", low=4, unit="frames/s"),
    Target("Memory of prepare", "times.prepare.gib", high=6, unit="GiB"),
    Target("Memory of finetune", "times.finetune.gib", high=6, unit="GiB"),
    Target("Memory of generate", "times.generate.gib", high=6, unit="GiB"),
    Target("Demo end to end", "times.demo.seconds", high=600, unit="s"),
)


def look_up(metrics: Mapping[str, Any], path: str) -> float | None:
    """The number at a dotted path; None where any part is missing or the figure is not a finite number."""
    value: Any = metrics
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        return None
    return float(value)


def check(metrics: Mapping[str, Any], targets: tuple[Target, ...] = TARGETS) -> list[Row]:
    """(name, value, target, ok) of every target, in the order of the table."""
    rows = []
    for target in targets:
        value = look_up(metrics, target.path)
        text = "yes" if target.path.endswith("above_control") else target.text
        ok = None if value is None else target.low <= value <= target.high
        rows.append(Row(target.name, value, text, ok))
    return rows
