"""The doctor's verdicts: pure checks on made-up measurements, then real files and real faces."""

from __future__ import annotations

import dataclasses
import pathlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.errors import InputError
from talkjax.media.reader import ClipInfo, read_frames
from talkjax.media.writer import VideoWriter
from talkjax.track import clip_checks, doctor
from tests.media import clips

RATE = 16_000
GOOD = ClipInfo(
    width=1280,
    height=720,
    fps=25.0,
    n_frames=500,
    duration=20.0,
    is_vfr=False,
    rotation=0,
    has_audio=True,
    audio_rate=44_100,
    audio_channels=2,
    audio_duration=20.0,
    truncated=False,
)


def _speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose level swings as syllables do."""
    t = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(size=len(t))
    return (0.1 * noise * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def _codes(findings: list[clip_checks.Finding]) -> dict[str, str]:
    return {finding.code: finding.severity for finding in findings}


def _faces(t: int = 100, eye: float = 120.0, opening: float = 0.15, yaw: float = 0.0) -> np.ndarray:
    """[t 478 3] landmarks of a talking face turned by `yaw` degrees; only the points that are looked at."""
    landmarks = np.full((t, 478, 3), 300.0, np.float32)
    half = 0.5 * eye * np.array([np.cos(np.radians(yaw)), 0.0, np.sin(np.radians(yaw))])
    landmarks[:, 33], landmarks[:, 263] = 300 - half, 300 + half
    landmarks[:, 14, 1] += eye * opening * (0.5 + 0.5 * np.sin(np.arange(t)))
    return landmarks


def test_a_good_clip_has_no_findings():
    assert clip_checks.check_container(GOOD) == []
    assert clip_checks.check_sound(_speech(20.0), RATE, GOOD) == []
    assert clip_checks.check_faces(_faces(), np.ones(100, bool), np.ones(100, int)) == []
    assert clip_checks.verdict([]) == "ok"


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        ({"duration": 1.0}, "too_short", "refused"),
        ({"duration": 6.0}, "short", "warning"),
        ({"fps": 60.0}, "frame_rate", "repairable"),
        ({"fps": 29.97, "is_vfr": True}, "variable_frame_rate", "repairable"),
        ({"rotation": 90}, "rotation", "repairable"),
        ({"has_audio": False}, "no_sound", "refused"),
        ({"truncated": True}, "truncated", "refused"),
    ],
)
def test_container_findings(change, code, severity):
    findings = clip_checks.check_container(dataclasses.replace(GOOD, **change))
    assert _codes(findings)[code] == severity


@pytest.mark.parametrize(
    ("train_frames", "codes"),
    [
        (None, {}),
        (400, {}),
        (490, {"few_heldout": "warning"}),
        (500, {"few_heldout": "warning"}),
        (501, {"clip_shorter_than_train_frames": "refused"}),
        (10, {"bad_config": "refused"}),
    ],
)
def test_split_of_a_clip_of_500_frames(train_frames, codes):
    assert _codes(clip_checks.check_container(GOOD, train_frames)) == codes


def test_no_sound_says_what_works_and_what_does_not():
    (finding,) = clip_checks.check_container(dataclasses.replace(GOOD, has_audio=False))
    assert "prepare can use the clip, finetune cannot" in finding.text


def test_sound_findings():
    def codes(wav: np.ndarray, info: ClipInfo = GOOD) -> dict[str, str]:
        return _codes(clip_checks.check_sound(wav.astype(np.float32), RATE, info))

    quiet_noise = 0.001 * np.random.default_rng(1).normal(size=20 * RATE)
    assert codes(np.zeros(20 * RATE)) == {"silent_audio": "refused"}
    assert codes(quiet_noise) == {"silent_audio": "refused"}
    assert codes(np.zeros(0)) == {"silent_audio": "refused"}
    mostly_still = np.concatenate([_speech(4.0), np.zeros(16 * RATE)])
    assert codes(mostly_still) == {"little_speech": "warning"}
    assert codes(_speech(19.8)) == {"audio_padded": "repairable"}
    assert codes(_speech(12.0)) == {"audio_short": "warning"}
    assert codes(_speech(25.0)) == {}
    assert codes(_speech(20.0), dataclasses.replace(GOOD, audio_rate=8000)) == {"low_sample_rate": "warning"}
    assert codes(np.clip(30 * _speech(20.0), -1, 1)) == {"clipped_audio": "warning"}


def test_missing_faces():
    nothing = np.zeros(100, bool)
    assert _codes(clip_checks.check_faces(_faces(), nothing, nothing.astype(int))) == {"no_face": "refused"}
    mostly = np.arange(100) < 70
    found = clip_checks.check_faces(_faces(), mostly, mostly.astype(int))
    assert _codes(found) == {"face_missing": "refused", "face_leaves": "warning"}
    assert "70 % of the frames" in found[0].text


def test_gaps_of_more_than_a_fifth_of_a_second_are_named_by_their_times():
    seen = np.ones(250, bool)
    seen[50:55] = False
    ones = np.ones(250, int)
    assert clip_checks.check_faces(_faces(250), seen, ones) == []
    seen[100:125] = False
    seen[240:] = False
    (finding,) = clip_checks.check_faces(_faces(250), seen, ones)
    assert finding.code == "face_leaves" and "4.0-5.0 s, 9.6-10.0 s" in finding.text
    assert clip_checks.gaps_of(seen) == [(50, 55), (100, 125), (240, 250)]
    assert clip_checks.gaps_of(np.ones(3, bool)) == []


@pytest.mark.parametrize(
    ("landmarks", "n_faces", "code"),
    [
        (_faces(), 2, "several_faces"),
        (_faces(eye=30.0), 1, "small_face"),
        (_faces(yaw=45.0), 1, "turned_head"),
        (_faces(yaw=-45.0), 1, "turned_head"),
        (_faces(opening=0.02), 1, "closed_mouth"),
    ],
)
def test_face_warnings(landmarks, n_faces, code):
    findings = clip_checks.check_faces(landmarks, np.ones(100, bool), np.full(100, n_faces))
    assert _codes(findings) == {code: "warning"}
    assert clip_checks.verdict(findings) == "repairable"


def test_a_turned_head_is_not_a_small_one():
    assert np.allclose(clip_checks.yaw_degrees(_faces(yaw=20.0)), 20.0, atol=1e-3)
    turned = clip_checks.check_faces(_faces(eye=45.0, yaw=30.0), np.ones(100, bool), np.ones(100))
    assert turned == []


def test_blur_and_darkness():
    rng = np.random.default_rng(0)
    sharp = np.clip(cv2.GaussianBlur(rng.normal(size=(160, 160)), (0, 0), 1.5) * 200 + 120, 0, 255)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 6.0)
    (s, level), (b, _), (dark_s, dark) = map(clip_checks.face_quality, (sharp, blurred, sharp * 0.1))
    assert s > 3 * clip_checks.MIN_SHARPNESS > 3 * b
    assert dark_s == pytest.approx(s, rel=0.01)  # exposure is not blur
    assert clip_checks.check_pictures(np.array([s, s]), np.array([level, level])) == []
    found = clip_checks.check_pictures(np.array([b, b, s]), np.array([dark, dark, level]))
    assert _codes(found) == {"blurred": "warning", "dark": "warning"}
    assert clip_checks.check_pictures(np.zeros(0), np.zeros(0)) == []


# ------------------------------------------------------------------------------ real files


def _write(path: pathlib.Path, frames, fps: float = 25.0, wav: np.ndarray | None = None) -> pathlib.Path:
    frames = list(frames)
    audio = None if wav is None else (wav, RATE)
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], fps=fps, audio=audio) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _plain(count: int) -> list[np.ndarray]:
    ramp = np.tile(np.linspace(0, 200, 96, dtype=np.uint8)[None, :, None], (64, 1, 3))
    return [np.roll(ramp, i, axis=1) for i in range(count)]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp4", b"", "empty_file"),
        ("text.mp4", b"hello " * 100, None),
        ("none.mp4", None, "missing_file"),
    ],
)
def test_files_that_are_no_clips_are_refused_not_raised(tmp_path, name, content, code):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    report = doctor.examine(path)
    assert (report.verdict, report.info, len(report.findings)) == ("refused", None, 1)
    assert code in (None, report.findings[0].code)


def test_truncated_file_is_refused(tmp_path):
    whole = _write(tmp_path / "whole.mp4", _plain(100), wav=_speech(4.0))
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    for share in (0.1, 0.5, 0.8):
        cut.write_bytes(data[: int(share * len(data))])
        assert _codes(doctor.examine(cut).findings) == {"truncated": "refused"}


def test_short_silent_and_soundless_clips_are_refused_before_faces_are_sought(tmp_path):
    second = doctor.examine(_write(tmp_path / "second.mp4", _plain(25), wav=_speech(1.0)))
    assert second.verdict == "refused" and "too_short" in _codes(second.findings)
    silent = doctor.examine(_write(tmp_path / "silent.mp4", _plain(100), wav=np.zeros(4 * RATE, np.float32)))
    assert silent.verdict == "refused" and "silent_audio" in _codes(silent.findings)
    mute = doctor.examine(_write(tmp_path / "mute.mp4", _plain(100)))
    assert mute.verdict == "refused" and "no_sound" in _codes(mute.findings)
    long_split = doctor.examine(
        _write(tmp_path / "split.mp4", _plain(100), wav=_speech(4.0)), train_frames=300
    )
    assert "clip_shorter_than_train_frames" in _codes(long_split.findings)
    assert "--train_frames=80" in long_split.findings[-1].fix


def test_foreign_and_varying_frame_rates_and_rotation_are_repairable(tmp_path):
    fast = doctor.examine(_write(tmp_path / "fast.mp4", _plain(240), fps=60.0))
    assert _codes(fast.findings)["frame_rate"] == "repairable"
    times = [Fraction(k, 12) + Fraction(k % 3, 40) for k in range(48)]
    varying = doctor.examine(clips.write_clip(tmp_path / "vfr.mp4", times))
    assert _codes(varying.findings)["variable_frame_rate"] == "repairable"
    turned = doctor.examine(clips.rotate_mp4(_write(tmp_path / "phone.mp4", _plain(100)), 90))
    assert _codes(turned.findings)["rotation"] == "repairable"
    assert turned.info is not None and (turned.info.width, turned.info.height) == (64, 96)


# ------------------------------------------------------------------------------ real faces


@pytest.fixture(scope="module")
def models():
    try:
        landmark_model_files(allow_download=False)
    except InputError as error:
        pytest.skip(f"face models not at hand: {error.problem}")
    from talkjax.track.landmarks import load_landmark_models

    return load_landmark_models()


@pytest.fixture(scope="module")
def person(target_clip) -> list[np.ndarray]:
    """3 s of the real clip at 480 x 270."""
    frames = (frame for _, frame in zip(range(75), read_frames(target_clip), strict=False))
    return [cv2.resize(frame, (480, 270), interpolation=cv2.INTER_AREA) for frame in frames]


def test_no_face_is_refused(tmp_path, models):
    report = doctor.examine(_write(tmp_path / "plain.mp4", _plain(100), wav=_speech(4.0)), models=models)
    assert report.verdict == "refused" and _codes(report.findings)["no_face"] == "refused"


def test_one_good_face_passes(tmp_path, models, person):
    report = doctor.examine(_write(tmp_path / "one.mp4", person, wav=_speech(3.0)), models=models)
    assert _codes(report.findings) == {"short": "warning", "few_heldout": "warning"}
    assert report.to_dict()["findings"][0]["code"] == "short"


def test_two_faces_warn(tmp_path, models, person):
    both = [np.hstack([frame, frame]) for frame in person]
    report = doctor.examine(_write(tmp_path / "two.mp4", both, wav=_speech(3.0)), models=models)
    assert _codes(report.findings)["several_faces"] == "warning"
    assert "2 faces" in next(f.text for f in report.findings if f.code == "several_faces")


def test_face_that_leaves_for_a_second_is_named(tmp_path, models, person):
    frames = [*person, *person[::-1]]
    frames[50:75] = [np.full_like(frame, 128) for frame in frames[50:75]]
    report = doctor.examine(_write(tmp_path / "leaves.mp4", frames, wav=_speech(6.0)), models=models)
    assert "2.0-3.0 s" in next(f.text for f in report.findings if f.code == "face_leaves")
    assert report.verdict == "repairable"
