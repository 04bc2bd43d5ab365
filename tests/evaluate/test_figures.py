"""The streamed meters and the dicts of figures: identity, known damage, missing frames, JSON."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import scipy.ndimage

from talkjax.evaluate import figures
from talkjax.evaluate.meter import PictureMeter, picture_figures, plain
from talkjax.evaluate.regions import REGION_NAMES, crop_box, cut, region_masks
from talkjax.face import mesh468
from tests.evaluate import faces


@pytest.fixture(scope="module")
def clip() -> tuple[list[np.ndarray], np.ndarray]:
    opening = [0.0, 0.12, 0.25, 0.2]
    frames = [faces.photo(300, 320, seed=k) for k in range(4)]
    return frames, faces.speaking(np.array(opening))


def test_real_against_itself_is_perfect(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    frames, landmarks = clip
    result = picture_figures(frames, frames, landmarks)
    assert result["frames"] == 4 and result["skipped"] == 0 and result["bare"] is None
    for name in REGION_NAMES:
        part = result["out"][name]
        assert (part["psnr"], part["psnr_p5"]) == (100.0, 100.0)
        assert part["ssim"] == pytest.approx(1.0) and part["sharpness"] == 1.0
        assert part["frames"] == (3 if name == "mouth_interior" else 4)  # closed lips in the first frame
    assert result["out"]["seam"] == 0.0


def test_damage_in_the_mouth_is_seen_in_the_mouth(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    frames, landmarks = clip
    meter = PictureMeter()
    for frame, points in zip(frames, landmarks, strict=True):
        low, high = (
            points[mesh468.OUTER_LIPS, :2].min(0).astype(int),
            points[mesh468.OUTER_LIPS, :2].max(0).astype(int),
        )
        damaged, worse = frame.copy(), frame.copy()
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        damaged[window] = np.clip(frame[window].astype(int) + 10, 0, 255)
        worse[window] = np.clip(frame[window].astype(int) + 20, 0, 255)
        meter.add(frame, damaged, points, bare=worse)
    result = meter.result()
    assert result["out"]["eyes"]["psnr"] == 100.0
    # +10 on all interior pixels (few of which clip): 20 log10(255 / 10) dB
    assert result["out"]["mouth_interior"]["psnr"] == pytest.approx(28.13, abs=0.3)
    assert result["out"]["mouth"]["psnr"] < result["out"]["face"]["psnr"] < 100
    assert result["gain"]["mouth_interior"] == pytest.approx(6.0, abs=0.3)
    assert result["better"]["mouth"] == 1.0 and result["better"]["eyes"] == 0.0
    assert meter.series("mouth").mean() - meter.series("mouth", "bare").mean() == pytest.approx(
        result["gain"]["mouth"]
    )


def test_blur_lowers_sharpness_and_a_pasted_box_makes_a_seam(
    clip: tuple[list[np.ndarray], np.ndarray],
) -> None:
    frames, landmarks = clip
    blurred = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in frames]
    assert picture_figures(frames, blurred, landmarks)["out"]["face"]["sharpness"] < 0.5
    smooth = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in frames]
    paste = np.zeros((300, 320), np.float32)
    paste[100:260, 90:230] = 1
    pasted = [
        np.clip(f.astype(int) + 25 * paste[..., None].astype(int), 0, 255).astype(np.uint8) for f in smooth
    ]
    seen = picture_figures(smooth, pasted, landmarks, paste_masks=[paste] * 4)["out"]["seam"]
    assert seen > 3.0
    assert picture_figures(smooth, pasted, landmarks)["out"]["seam"] < seen / 2  # not at the default border


def test_low_percentile_and_sharpness_size(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    frames, landmarks = clip
    noisy = [np.clip(f.astype(int) + 4 * (k + 1), 0, 255).astype(np.uint8) for k, f in enumerate(frames)]
    meter = PictureMeter()
    for frame, out, points in zip(frames, noisy, landmarks, strict=True):
        meter.add(frame, out, points)
    series = meter.series("face")
    assert series[0] - series[3] > 10
    low, middle, *_ = np.sort(series)  # numpy's rule: 5 % of the way from the lowest of 4 is 0.15 steps up
    assert meter.result()["out"]["face"]["psnr_p5"] == pytest.approx(low + 0.15 * (middle - low))

    soft = cv2.GaussianBlur(frames[2], (0, 0), 1.2)
    box = crop_box(landmarks[2])
    mask = region_masks(landmarks[2], box, 160).face
    levels = []
    for image in (soft, frames[2]):
        small = cv2.resize(cut(image, box), (160, 160), interpolation=cv2.INTER_AREA)
        luma = small.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        levels.append(scipy.ndimage.laplace(luma)[mask].var())
    sharpness = picture_figures([frames[2]], [soft], landmarks[2:3])["out"]["face"]["sharpness"]
    assert sharpness == pytest.approx(levels[0] / levels[1], rel=1e-3)


def test_frames_without_a_face_are_skipped_and_stay_in_the_series(
    clip: tuple[list[np.ndarray], np.ndarray],
) -> None:
    frames, landmarks = clip
    lost = landmarks.copy()
    lost[1] = np.nan
    meter = PictureMeter()
    for frame, points in zip(frames, lost, strict=True):
        meter.add(frame, frame, points)
    assert (meter.result()["frames"], meter.result()["skipped"]) == (3, 1)
    np.testing.assert_array_equal(np.isnan(meter.series("face")), [False, True, False, False])


def test_uneven_streams_and_changing_rows_are_errors(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    frames, landmarks = clip
    with pytest.raises(ValueError):
        picture_figures(frames, frames[:3], landmarks)
    meter = PictureMeter()
    meter.add(frames[0], frames[0], landmarks[0], bare=frames[0])
    with pytest.raises(ValueError, match="every frame or for none"):
        meter.add(frames[0], frames[0], landmarks[0])
    with pytest.raises(ValueError, match="differ in size"):
        PictureMeter().add(frames[0], frames[0][:-1], landmarks[0])


def test_speech_figures_of_itself_late_and_silent() -> None:
    long = faces.smooth_noise(160, seed=1)
    real, late = faces.speaking(long[10:150]), faces.speaking(0.5 * long[7:147])
    same = figures.speech_figures(real, real)
    assert same["opening"]["r"] == pytest.approx(1.0) and same["opening"]["lag"] == 0
    assert same["opening"]["above_control"] is True and same["lmd"] == pytest.approx(0.0, abs=1e-9)
    assert same["width"]["r"] is None and same["width"]["lag"] is None  # the drawn mouth keeps its width
    moved = figures.speech_figures(real, late)["opening"]
    assert moved["lag"] == 3 and moved["r_at_lag"] == pytest.approx(1.0, abs=1e-6)
    assert moved["amplitude"] == pytest.approx(0.5, rel=0.1) and moved["r"] < 1
    closed = figures.speech_figures(real, faces.speaking(np.full(140, 0.1)))["opening"]
    assert closed["r"] is None and closed["above_control"] is None
    with pytest.raises(ValueError, match="differ in length"):
        figures.speech_figures(real, late[:-1])


def test_unrelated_speech_is_not_above_its_control() -> None:
    real, other = (faces.speaking(faces.smooth_noise(300, seed=seed)) for seed in (21, 22))
    assert figures.speech_figures(real, other)["opening"]["above_control"] is False


def test_motion_head_silence_fit_and_noise_figures() -> None:
    rng = np.random.default_rng(9)
    track = faces.speaking(faces.smooth_noise(60, seed=3)).astype(np.float64)
    track[..., :2] += rng.normal(0, 0.3, (60, 1, 2))
    steady = figures.motion_figures(track, track)
    assert steady["jitter"] == 1.0 and steady["blinks_per_minute"] == {"real": 0.0, "out": 0.0}
    pose = np.cumsum(rng.normal(0, 0.01, (300, 3)), axis=0)
    head = figures.head_motion_figures([pose, 2 * pose], pose, pose[150:])
    assert head["seeds"] == 2 and head["against_training"]["std_ratio"]["yaw"] == pytest.approx(1.5)
    alone = figures.head_motion_figures([pose], pose)
    assert alone["against_training"]["hs"] == 1.0 and "against_heldout" not in alone
    assert head["heldout_by_training"]["hs"] < 1
    assert head["heldout_share"] == head["against_heldout"]["hs"] / head["heldout_by_training"]["hs"]
    assert head["seed_correlation"] == pytest.approx(1.0) and alone["seed_correlation"] is None
    assert head["against_training"]["speed_ratio"]["roll"] == pytest.approx(1.5)
    assert figures.silence_figures({"digital": track}, track) == {"digital": 1.0}
    assert set(figures.pose_noise_figures(pose)) == {"pitch", "yaw", "roll"}
    fitted = track[:, :468, :2].copy()
    fitted[:40, :, 0] += 0.4  # 0.5 % of 80 px in training, 1 % on the held-out lips
    fitted[40:, mesh468.LIPS, 1] += 0.8
    fit = figures.fit_figures(fitted, track, 40, np.arange(60) != 3)
    assert fit["train"]["all"] == pytest.approx(0.5, rel=1e-3)
    assert fit["train"]["lips"] == pytest.approx(0.5, rel=1e-3)
    assert fit["heldout"]["lips"] == pytest.approx(1.0, rel=1e-3)
    assert fit["heldout"]["all"] == pytest.approx(80 / 468, rel=1e-3)


def test_plain_is_strict_json() -> None:
    value = {
        "a": np.float32(1.5),
        "b": [np.int64(2), float("nan")],
        3: np.array([1.0, np.inf]),
        "d": np.bool_(True),
    }
    text = json.dumps(plain(value), allow_nan=False)
    assert json.loads(text) == {"a": 1.5, "b": [2, None], "3": [1.0, None], "d": True}
