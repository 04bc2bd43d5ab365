"""Tracking whole clips: regions and their smoothing, gaps, losses, several faces, streaming."""

from __future__ import annotations

import pathlib
import weakref

import cv2
import numpy as np
import pytest
from scipy.signal import savgol_filter

from talkjax.errors import InputError
from talkjax.track.landmark_follow import find_faces, look
from talkjax.track.landmark_roi import (
    RoiSmoother,
    crop_roi,
    crop_to_frame,
    points_to_frame,
    roi_from_detection,
    roi_from_landmarks,
)
from talkjax.track.landmarks import track_landmarks

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"


def _iod(landmarks: np.ndarray) -> np.ndarray:
    return np.linalg.norm(landmarks[..., 33, :2] - landmarks[..., 263, :2], axis=-1)


def _percent(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance of two sets of landmarks per frame, percent of the outer-eye distance."""
    return 100 * np.linalg.norm(a[..., :2] - b[..., :2], axis=-1).mean(-1) / _iod(b)


@pytest.fixture(scope="module")
def clean(models, clip_frames):
    return track_landmarks(clip_frames, models)


@pytest.fixture(scope="module")
def half_frames(clip_frames):
    return [cv2.resize(f, (640, 360), interpolation=cv2.INTER_AREA) for f in clip_frames[:36]]


# --- regions ------------------------------------------------------------------------------------------------


def test_crop_shows_the_turned_region():
    frame = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(frame, (180, 90), 3, (255, 255, 255), -1)
    roi = np.array([150.0, 100, 96, 0.4])
    crop = crop_roi(frame, roi)
    bright = np.argwhere(crop[..., 0] > 128)[:, ::-1].mean(0)
    point = points_to_frame(np.array([[*bright, 10.0]]), roi)[0]
    np.testing.assert_allclose(point[:2], [180, 90], atol=0.6)
    assert point[2] == pytest.approx(5)  # depth shrinks with the crop: 96 pixels were shown as 192
    corner = crop_to_frame(roi) @ [96, 96, 1]
    np.testing.assert_allclose(corner, [150, 100])


def test_regions_of_detection_and_landmarks():
    keypoints = np.array([[10.0, 20], [30, 30]])
    roi = roi_from_detection(np.array([0.0, 0, 40, 60]), keypoints)
    np.testing.assert_allclose(roi, [20, 30, 90, np.arctan2(10, 20)])
    landmarks = np.random.default_rng(0).uniform(50, 60, (478, 3)).astype(np.float32)
    landmarks[0, :2], landmarks[1, :2] = [10, 40], [110, 90]
    landmarks[33, :2], landmarks[263, :2] = [50, 50], [60, 50]
    np.testing.assert_allclose(roi_from_landmarks(landmarks), [60, 65, 150, 0], atol=1e-5)


@pytest.mark.parametrize("length", [7, 8, 40])
def test_streamed_smoothing_is_savitzky_golay(length):
    rois = np.cumsum(np.random.default_rng(length).normal(size=(length, 4)), axis=0) * 0.1
    smoother, out, held = RoiSmoother[int](), [], 0
    for i, roi in enumerate(rois):
        out += list(smoother.push(i, roi))
        held = max(held, i + 1 - len(out))
    assert held <= 6  # frames that wait for later ones
    out += list(smoother.flush())
    assert [i for i, _ in out] == list(range(length))
    np.testing.assert_allclose([r for _, r in out], savgol_filter(rois, 7, 2, axis=0), atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_smoothing_of_short_segments_keeps_straight_motion(length):
    smoother = RoiSmoother[int]()
    rois = np.arange(length)[:, None] * np.array([1.0, -2, 0.5, 0.01]) + 5
    rois[:, 3] -= 5
    out = [x for i, roi in enumerate(rois) for x in smoother.push(i, roi)] + list(smoother.flush())
    np.testing.assert_allclose([r for _, r in out], rois, atol=1e-9)


def test_smoothing_takes_the_short_way_round_for_angles():
    smoother = RoiSmoother[int]()
    angles = np.pi - 0.03 + 0.01 * np.arange(9)  # passes half a turn
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    out = []
    for i, angle in enumerate(wrapped):
        out += list(smoother.push(i, np.array([0, 0, 1, angle])))
    out += list(smoother.flush())
    np.testing.assert_allclose([np.exp(1j * r[3]) for _, r in out], np.exp(1j * angles), atol=1e-6)


# --- whole clips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 0.5, 1 / 3])
def test_face_is_found_in_every_frame(models, clip_frames, clean, scale):
    if scale == 1:
        track = clean
    else:
        small = (
            cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in clip_frames[:24]
        )
        track = track_landmarks(small, models)
        error = _percent(track.landmarks / np.float32(scale), clean.landmarks[:24])
        assert error.mean() < 1.2  # 0.5 at half, 0.9 at third size on the whole clip
    assert track.valid.all() and (track.n_faces == 1).all() and track.score.min() > 0.9
    assert track.landmarks.dtype == np.float32 and track.landmarks.shape[1:] == (478, 3)


def test_decoding_is_mediapipes(models, clip_frames):
    """The golden was made once by mediapipe 0.10.21 itself on this clip: `FaceMesh(static_image_mode=False,
    max_num_faces=1, refine_landmarks=True)` fed with frames 0, 1, ... in order, its answers times the frame's
    size. One look per frame at the region of the last frame is MediaPipe's way; it forgets the first region.
    """
    golden = np.load(GOLDENS / "mediapipe_landmarks.npz")
    (face, *_) = find_faces(clip_frames[0], models)
    roi = roi_from_landmarks(face.landmarks)
    tracked = []
    for frame in clip_frames:
        points, _ = look([(frame, roi)], models)
        roi = roi_from_landmarks(points[0])
        tracked.append(points[0])
    got = np.array(tracked)[golden["frames"]]
    assert _percent(got, golden["landmarks"]).max() < 0.05  # a half-pixel shift would cost 0.6
    depth = np.abs(got - golden["landmarks"])[..., 2].mean(-1)
    assert (100 * depth / _iod(got)).max() < 0.05


def test_second_look_is_less_noisy_than_one_look(models, clip_frames, clean):
    single = []
    roi = roi_from_landmarks(clean.landmarks[0])
    for frame in clip_frames:
        points, _ = models.mesh(crop_roi(frame, roi)[None].astype(np.float32) / 255)
        single.append(points_to_frame(points[0], roi))
        roi = roi_from_landmarks(single[-1])

    def noise(landmarks: np.ndarray) -> float:
        xy = landmarks[:, :468, :2]
        return float(np.sqrt(np.mean((xy - savgol_filter(xy, 7, 2, axis=0)) ** 2)))

    assert noise(clean.landmarks) < 0.95 * noise(np.array(single))
    assert _percent(np.array(single), clean.landmarks).mean() < 1.0


def test_tracking_is_deterministic(models, clip_frames, clean):
    again = track_landmarks(iter(clip_frames[:12]), models)
    once_more = track_landmarks(iter(clip_frames[:12]), models)
    np.testing.assert_array_equal(again.landmarks, once_more.landmarks)
    np.testing.assert_array_equal(
        again.landmarks[:9], clean.landmarks[:9]
    )  # the future beyond 3 frames is unseen


def test_short_gap_is_bridged_and_long_gap_excluded(models, half_frames):
    seen = track_landmarks(half_frames, models)
    frames = list(half_frames)
    black = np.zeros_like(frames[0])
    frames[8:13] = [black] * 5
    frames[24:30] = [black] * 6
    track = track_landmarks(frames, models)
    expected = np.ones(len(frames), bool)
    expected[24:30] = False
    np.testing.assert_array_equal(track.valid, expected)
    unseen = np.r_[8:13, 24:30]
    assert (track.score[unseen] < 0.5).all() and (np.delete(track.score, unseen) > 0.5).all()
    assert (track.n_faces[unseen] == 0).all()
    assert _percent(track.landmarks, seen.landmarks)[8:13].max() < 8  # the head moved on meanwhile
    line = np.diff(track.landmarks[7:14].astype(np.float64), axis=0)
    np.testing.assert_allclose(line, np.broadcast_to(line[:1], line.shape), atol=1e-2)
    assert np.isfinite(track.landmarks).all()


def test_face_that_leaves_for_a_second_is_taken_up_again(models, half_frames):
    empty = np.full_like(half_frames[0], 120)
    track = track_landmarks([*half_frames[:10], *[empty] * 25, *half_frames[10:20]], models)
    assert track.valid[:10].all() and not track.valid[10:35].any() and track.valid[35:].all()


def test_clip_without_a_face_is_nowhere_valid(models):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (180, 320, 3), dtype=np.uint8) for _ in range(3)]
    track = track_landmarks(frames, models)
    assert not track.valid.any() and (track.n_faces == 0).all() and np.isfinite(track.landmarks).all()


def test_largest_of_two_faces_is_tracked_and_both_are_counted(models, clip_frames, clean):
    frames = []
    for frame in clip_frames[:13]:
        both = np.full((720, 1280, 3), 100, np.uint8)
        both[:, 640:] = frame[:, 230:870]  # the person at full size on the right
        smaller = cv2.resize(frame[:, 230:870], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        both[200 : 200 + smaller.shape[0], 100 : 100 + smaller.shape[1]] = smaller
        frames.append(both)
    track = track_landmarks(frames, models)
    assert track.valid.all() and (track.n_faces == 2).all()
    shifted = track.landmarks - np.float32([410, 0, 0])
    assert _percent(shifted, clean.landmarks[:13]).mean() < 1


def test_frames_are_not_hoarded(models, clip_frames):
    alive: set[int] = set()
    most = 0

    def stream():
        nonlocal most
        for i, frame in enumerate(clip_frames[:20]):
            copy = cv2.resize(frame, (640, 360))
            alive.add(i)
            weakref.finalize(copy, alive.discard, i)
            most = max(most, len(alive))
            yield copy
            del copy

    ticks: list[int] = []
    track_landmarks(stream(), models, progress=ticks.append)
    assert ticks == list(range(1, 21)) and most <= 10


def test_pure_jax_tracks_like_litert(models, pure_jax, clip_frames):
    if models.backend != "litert":
        pytest.skip("no LiteRT here to compare with")
    track = track_landmarks(clip_frames[:10], pure_jax)
    reference = track_landmarks(clip_frames[:10], models)
    assert track.valid.all()
    assert _percent(track.landmarks, reference.landmarks).max() < 0.05


def test_unusable_frames_are_refused(models, clip_frames):
    with pytest.raises(InputError, match="no frames"):
        track_landmarks([], models)
    with pytest.raises(InputError, match="uint8"):
        track_landmarks([clip_frames[0].astype(np.float32)], models)
    with pytest.raises(InputError, match="as the frames before"):
        track_landmarks([clip_frames[0], clip_frames[0][:, :600]], models)
