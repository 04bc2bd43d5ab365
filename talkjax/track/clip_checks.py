"""What can be wrong with a clip, as pure functions from measurements to findings (no file is opened here).

Severities: `refused` (the pipeline cannot use this clip), `repairable` (talkjax mends it by itself),
`warning` (it works, the result suffers). Limits are stated beside their reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from talkjax.config import FPS, PrepareConfig, count_frames
from talkjax.errors import InputError
from talkjax.infer.sound_offset import SoundOffset
from talkjax.media.reader import ClipInfo

MIN_SECONDS = 3.0  # below, there is nothing to learn a mouth from
GOOD_SECONDS = 10.0
MIN_HELDOUT_FRAMES = 25
MIN_FACE_SHARE = 0.8
MAX_BRIDGED_FRAMES = 5  # 0.2 s: shorter gaps are interpolated
MIN_EYE_DISTANCE_PX = 40.0  # below, lips are a handful of pixels
MAX_YAW_DEGREES = 35.0  # beyond, the far half of the mouth is hidden and landmarks are guesses
MIN_MOUTH_RANGE = 0.04  # of outer-eye distance, 5th to 95th percentile of the lip gap; speech has 0.1-0.2
MIN_PEAK_LEVEL = 10 ** (-50 / 20)  # loudest 40 ms, RMS of full scale
MIN_SPEECH_SHARE = 0.25
MIN_SHARPNESS = 0.006  # Laplacian over gray variance, face at 160 x 160; a good clip has 0.05
MIN_BRIGHTNESS = 40.0  # mean gray level of the face, of 255

_NO_FINETUNE = "prepare can use the clip, finetune cannot (it learns the mouth from the clip's own sound)"
_WITH_VOICE = "use a recording with the person's voice in it"
_LEFT_EYE_OUTER, _RIGHT_EYE_OUTER, _UPPER_LIP, _LOWER_LIP = 33, 263, 13, 14


@dataclass(frozen=True)
class Finding:
    """One thing noticed: a stable `code`, a `severity`, what it is, and what to do about it."""

    code: str
    severity: str
    text: str
    fix: str = ""


def verdict(findings: list[Finding]) -> str:
    """`refused`, `repairable` (also for warnings alone) or `ok`."""
    severities = {finding.severity for finding in findings}
    if "refused" in severities:
        return "refused"
    return "repairable" if severities else "ok"


def refusal(error: InputError) -> Finding:
    """An input error of a reader, as a finding."""
    text = error.problem + (f"; expected {error.expected}" if error.expected else "")
    return Finding(error.code, "refused", text, error.fix)


def check_container(info: ClipInfo, train_frames: int | None = None) -> list[Finding]:
    """Length, frame rate, rotation and split of a clip, from its header and timestamps."""
    findings = []
    n_frames = count_frames(info.duration)
    if info.truncated:
        text = f"the file ends before its header says, after {info.duration:.1f} s"
        return [Finding("truncated", "refused", text, "copy or export it again")]
    if info.duration < MIN_SECONDS:
        text = f"the clip lasts {info.duration:.1f} s, at least {MIN_SECONDS:.0f} s are needed"
        findings.append(Finding("too_short", "refused", text, "record 15 s or more of speech"))
    elif info.duration < GOOD_SECONDS:
        text = f"the clip lasts only {info.duration:.1f} s, the mouth will be learned from few sounds"
        findings.append(Finding("short", "warning", text, "15 s or more give a better result"))
    try:
        heldout = n_frames - PrepareConfig(train_frames=train_frames).validate().split(n_frames)
        if heldout < MIN_HELDOUT_FRAMES:
            text = f"only {heldout} frames are held out, evaluate will say little"
            findings.append(Finding("few_heldout", "warning", text, f"--train_frames={int(0.8 * n_frames)}"))
    except InputError as error:
        findings.append(refusal(error))
    if info.is_vfr:
        text = (
            f"the frame rate varies (mean {info.fps:.2f}), frames are taken at 25 per second by their times"
        )
        findings.append(Finding("variable_frame_rate", "repairable", text))
    elif abs(info.fps - FPS) > 0.02:
        text = f"{info.fps:.2f} frames per second, resampled to 25"
        findings.append(Finding("frame_rate", "repairable", text))
    if info.rotation:
        text = f"the picture is stored turned by {info.rotation} degrees, it is turned back"
        findings.append(Finding("rotation", "repairable", text))
    if not info.has_audio:
        findings.append(
            Finding(
                "no_sound",
                "refused",
                f"the clip has no sound: {_NO_FINETUNE}",
                _WITH_VOICE,
            )
        )
    return findings


def check_sound(wav: np.ndarray, sample_rate: int, info: ClipInfo) -> list[Finding]:
    """Level, length and share of speech of a clip's sound.

    Args:
      wav: [n] float32 mono in [-1, 1].
      sample_rate: Hz of `wav`.
      info: the clip it belongs to.
    """
    findings = []
    block = max(1, int(sample_rate / FPS))
    n_blocks = len(wav) // block
    levels = np.sqrt(np.mean(np.square(wav[: n_blocks * block].reshape(n_blocks, block)), axis=1) + 1e-12)
    if n_blocks == 0 or float(levels.max()) < MIN_PEAK_LEVEL:
        return [Finding("silent_audio", "refused", f"the sound is silent: {_NO_FINETUNE}", _WITH_VOICE)]
    loud = float(np.mean(levels > np.percentile(levels, 95) * 10 ** (-25 / 20)))
    if loud < MIN_SPEECH_SHARE:
        text = f"sound in only {100 * loud:.0f} % of the clip, the mouth will be learned from little speech"
        findings.append(Finding("little_speech", "warning", text, "cut the pauses, or record more speech"))
    shortfall = info.duration - len(wav) / sample_rate
    if shortfall > max(0.5, 0.1 * info.duration):
        text = f"the sound ends {shortfall:.1f} s before the picture, the rest counts as silence"
        findings.append(Finding("audio_short", "warning", text, "cut the clip where the sound ends"))
    elif shortfall > 1.5 / FPS:
        text = f"the sound is {shortfall:.2f} s shorter than the picture, silence is added"
        findings.append(Finding("audio_padded", "repairable", text))
    if 0 < info.audio_rate < 16_000:
        text = (
            f"sound at {info.audio_rate} Hz has no content above {info.audio_rate // 2} Hz to tell s from f"
        )
        findings.append(Finding("low_sample_rate", "warning", text, "record at 16 kHz or more"))
    clipped = float(np.mean(np.abs(wav) > 0.99))
    if clipped > 0.005:
        text = f"{100 * clipped:.1f} % of the sound is clipped"
        findings.append(Finding("clipped_audio", "warning", text, "record at a lower level"))
    return findings


def check_offset(offset: SoundOffset) -> list[Finding]:
    """Whether sound and picture are in step, as far as the clip tells."""
    if not offset.repair:
        return []
    late = "late" if offset.frames > 0 else "early"
    text = (
        f"the sound comes {abs(offset.frames):.1f} frames {late} (r {offset.correlation:.2f} there, "
        f"{offset.at_zero:.2f} as it is; +- {offset.spread:.1f}), prepare moves it"
    )
    return [Finding("sound_offset", "repairable", text)]


def check_faces(
    landmarks: np.ndarray, seen: np.ndarray, n_faces: np.ndarray, seconds_per_sample: float = 1 / FPS
) -> list[Finding]:
    """Presence, number, size, turn and movement of the tracked face.

    Args:
      landmarks: [t 478 3] float32 px (MediaPipe order; z in px, smaller is nearer).
      seen: [t] bool, the face was seen.
      n_faces: [t] int, faces seen.
      seconds_per_sample: time between rows.
    """
    share = float(np.mean(seen)) if len(seen) else 0.0
    if share == 0.0:
        return [
            Finding(
                "no_face",
                "refused",
                "no face was found",
                "the face must be seen from the front, in good light",
            )
        ]
    findings = []
    if share < MIN_FACE_SHARE:
        needed = f"at least {100 * MIN_FACE_SHARE:.0f} % are needed"
        text = f"a face is tracked in {100 * share:.0f} % of the frames, {needed}"
        findings.append(
            Finding("face_missing", "refused", text, "cut the clip to where the face is in the picture")
        )
    gaps = [(a, b) for a, b in gaps_of(seen) if (b - a) * seconds_per_sample > MAX_BRIDGED_FRAMES / FPS]
    if gaps:
        times = ", ".join(f"{a * seconds_per_sample:.1f}-{b * seconds_per_sample:.1f} s" for a, b in gaps[:5])
        more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
        text = f"the face is not seen at {times}{more}; these frames are left out"
        findings.append(Finding("face_leaves", "warning", text, "keep the face in the picture"))
    several = float(np.mean(np.asarray(n_faces) > 1))
    if several > 0.02:
        text = f"{int(np.max(n_faces))} faces in {100 * several:.0f} % of the frames, the largest is used"
        findings.append(Finding("several_faces", "warning", text, "crop the clip to one person"))
    tracked = landmarks[np.asarray(seen, bool)]
    return findings + _check_geometry(tracked)


def _check_geometry(landmarks: np.ndarray) -> list[Finding]:
    """Size, turn and mouth movement of tracked faces, [t 478 3] px."""
    findings = []
    eyes = landmarks[:, _RIGHT_EYE_OUTER] - landmarks[:, _LEFT_EYE_OUTER]
    distance = np.maximum(
        np.linalg.norm(eyes, axis=-1), 1e-6
    )  # in three dimensions: a turned head is not small
    if (size := float(np.median(distance))) < MIN_EYE_DISTANCE_PX:
        text = f"the face is small: {size:.0f} px from eye to eye, less than {MIN_EYE_DISTANCE_PX:.0f}"
        findings.append(Finding("small_face", "warning", text, "crop tighter or record closer"))
    turned = float(np.mean(yaw_degrees(landmarks) > MAX_YAW_DEGREES))
    if turned > 0.05:
        text = f"the head turns beyond {MAX_YAW_DEGREES:.0f} degrees in {100 * turned:.0f} % of the frames"
        findings.append(Finding("turned_head", "warning", text, "look towards the camera"))
    gap = np.linalg.norm(landmarks[:, _UPPER_LIP] - landmarks[:, _LOWER_LIP], axis=-1) / distance
    if float(np.percentile(gap, 95) - np.percentile(gap, 5)) < MIN_MOUTH_RANGE:
        text = "the mouth hardly opens, its inside will be invented"
        findings.append(Finding("closed_mouth", "warning", text, "record lively speech with open vowels"))
    return findings


def check_pictures(sharpness: np.ndarray, brightness: np.ndarray) -> list[Finding]:
    """Blur and darkness from a few faces: `sharpness` and `brightness` as `face_quality` gives them, [n]."""
    findings = []
    if len(sharpness) and float(np.median(sharpness)) < MIN_SHARPNESS:
        findings.append(Finding("blurred", "warning", "the face is blurred", "check focus and exposure time"))
    if len(brightness) and float(np.median(brightness)) < MIN_BRIGHTNESS:
        findings.append(Finding("dark", "warning", "the face is dark", "put a light before the face"))
    return findings


def yaw_degrees(landmarks: np.ndarray) -> np.ndarray:
    """[*b] absolute turn of the head about the vertical, from its outer eye corners' depth [*b 478 3]."""
    eyes = landmarks[..., _RIGHT_EYE_OUTER, :] - landmarks[..., _LEFT_EYE_OUTER, :]
    return np.degrees(np.arctan2(np.abs(eyes[..., 2]), np.linalg.norm(eyes[..., :2], axis=-1)))


def gaps_of(seen: np.ndarray) -> list[tuple[int, int]]:
    """Runs [start, end) of False."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], np.asarray(seen, bool), [True]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def face_quality(gray: np.ndarray) -> tuple[float, float]:
    """Sharpness (Laplacian variance over variance) and mean level of a face crop [h w], gray levels 0-255."""
    image = np.asarray(gray, np.float64)
    laplacian = (
        image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:] - 4 * image[1:-1, 1:-1]
    )
    return float(laplacian.var() / (image.var() + 1e-6)), float(image.mean())
