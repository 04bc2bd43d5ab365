"""PSNR, SSIM, sharpness, seam and flicker against scikit-image, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from talkjax.evaluate import picture
from talkjax.evaluate.flicker import FlickerMeter, LandmarkUnwrap, SkinFlicker
from talkjax.face.person import person_model
from talkjax.face.points import landmark_vertices
from tests.evaluate import faces
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    real = faces.photo(90, 110)
    noise = np.random.default_rng(1).normal(0, 9, real.shape)
    return np.clip(scipy.ndimage.gaussian_filter(real, (1, 1, 0)) + noise, 0, 255).astype(np.uint8), real


def test_psnr_equals_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    out, real = pair
    expected = peak_signal_noise_ratio(real, out, data_range=255)
    assert picture.psnr(out, real) == pytest.approx(expected, abs=1e-9)
    mask = np.zeros(real.shape[:2], bool)
    mask[10:50, 20:90] = True
    expected = peak_signal_noise_ratio(real[10:50, 20:90], out[10:50, 20:90], data_range=255)
    assert picture.psnr(out, real, mask) == pytest.approx(expected, abs=1e-9)


def test_psnr_of_identical_pictures_is_capped_and_of_no_pixels_nan() -> None:
    image = faces.photo(20, 20)
    assert picture.psnr(image, image) == picture.PSNR_CAP
    assert np.isnan(picture.psnr(image, image, np.zeros((20, 20), bool)))


def test_ssim_map_equals_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    out, real = pair
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, expected = structural_similarity(real, out, channel_axis=-1, full=True, **settings)
    np.testing.assert_allclose(picture.ssim_map(out, real), expected.mean(axis=-1), atol=1e-9)
    _, expected = structural_similarity(real[..., 0], out[..., 0], full=True, **settings)
    np.testing.assert_allclose(picture.ssim_map(out[..., 0], real[..., 0]), expected, atol=1e-9)


def test_laplacian_variance_equals_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image = pair[1]
    mask = np.zeros(image.shape[:2], bool)
    mask[5:60, 8:70] = True
    luma = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    expected = scipy.ndimage.laplace(luma)[mask].var()
    assert picture.laplacian_variance(image, mask) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(picture.laplacian_variance(image, np.zeros_like(mask)))


def test_blur_lowers_the_sharpness(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image = pair[1]
    everywhere = np.ones(image.shape[:2], bool)
    blurred = scipy.ndimage.gaussian_filter(image, (1, 1, 0))
    assert picture.laplacian_variance(blurred, everywhere) < 0.2 * picture.laplacian_variance(
        image, everywhere
    )


def test_border_gradient_is_the_slope_across_the_border() -> None:
    y, x = np.mgrid[:80, :100].astype(np.float64)
    ramp = np.repeat((2.0 * x + 30)[..., None], 3, axis=-1)
    left = np.broadcast_to(x < 50, (80, 100))
    top = np.broadcast_to(y < 40, (80, 100))
    assert picture.border_gradient(ramp, left) == pytest.approx(2.0, abs=1e-4)  # across
    assert picture.border_gradient(ramp, top) == pytest.approx(0.0, abs=1e-4)  # along
    assert np.isnan(picture.border_gradient(ramp, np.zeros((80, 100))))


def test_seam_shows_a_step_at_the_paste_and_nothing_elsewhere() -> None:
    real = np.full((80, 100, 3), 100, np.uint8)
    paste = np.zeros((80, 100))
    paste[20:60, 30:70] = 1
    brighter = real + (20 * paste[..., None]).astype(np.uint8)
    assert picture.seam(real, real, paste) == 0
    step = picture.seam(brighter, real, paste)
    assert 3.0 < step < 10.0  # central differences see half of the 20 at the two pixels of the step
    inner = real.copy()
    inner[35:45, 45:55] = 160  # a mark well inside the paste is no seam
    assert picture.seam(inner, real, paste) == pytest.approx(0.0, abs=1e-6)
    feathered = scipy.ndimage.gaussian_filter(paste, 5)
    soft = real + (20 * feathered[..., None])
    assert picture.seam(soft, real, feathered) < 0.5 * step


def test_flicker_is_the_ratio_of_the_mean_changes() -> None:
    rng = np.random.default_rng(0)
    real = 100 + rng.normal(0, 4, (12, 16, 16, 3))
    out = 50 + 0.5 * (real - 100)
    visible = np.ones((16, 16), bool)
    visible[:, 8:] = False
    out[:, :, 8:] = rng.uniform(0, 255, (12, 16, 8, 3))  # hidden texels must not count
    meter = FlickerMeter()
    for a, b in zip(real, out, strict=True):
        meter.add(a, b, visible)
    result = meter.result()
    assert result["flicker"] == pytest.approx(0.5, rel=1e-4)
    assert result["real"] == pytest.approx(np.abs(np.diff(real[:, :, :8], axis=0)).mean(), rel=1e-4)


def test_flicker_counts_no_change_over_a_gap() -> None:
    meter = FlickerMeter()
    dark, bright, visible = np.zeros((4, 4, 3)), np.full((4, 4, 3), 200.0), np.ones((4, 4), bool)
    meter.add(dark, dark, visible)
    meter.gap()
    meter.add(bright, bright, visible)
    assert np.isnan(meter.result()["flicker"])
    meter.add(bright + 2, bright + 1, visible)
    assert meter.result() == {"flicker": 0.5, "real": 2.0, "out": 1.0}


def test_flicker_of_two_videos_by_their_own_landmarks() -> None:
    """A still face that the second video shows elsewhere and larger: only its noise flickers."""
    model = person_model(drawn_neutral())
    mesh = np.asarray(model.mean)[landmark_vertices(model)]
    rng = np.random.default_rng(0)
    picture = scipy.ndimage.gaussian_filter(rng.uniform(0, 255, (240, 200, 3)), (3, 3, 0))
    picture = 128 + 4 * (picture - picture.mean())

    def seen(zoom: float, corner: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        shown = scipy.ndimage.zoom(picture, (zoom, zoom, 1), order=1)
        frame = np.full((420, 420, 3), 40.0)
        frame[corner[1] : corner[1] + len(shown), corner[0] : corner[0] + shown.shape[1]] = shown
        points = np.zeros((478, 3))
        points[:468, 0] = corner[0] + zoom * (100 + 80 * mesh[:, 0])
        points[:468, 1] = corner[1] + zoom * (120 - 80 * mesh[:, 1])
        return frame, points

    real, real_px = seen(1.0, (30, 40))
    out, out_px = seen(1.5, (60, 20))
    meter = SkinFlicker(model)
    for _ in range(3):
        meter.add(real, out, real_px, out_px)
        meter.add(real, out, real_px * np.nan, out_px)  # without a face: no change counts over the gap
    assert np.isnan(meter.result()["flicker"])
    meter.add(real, out, real_px, out_px)
    for level in (3, -2, 6, 0):  # grey levels
        meter.add(real + 2 * level, out + level, real_px, out_px)
    result = meter.result()
    assert result["flicker"] == pytest.approx(0.5, rel=1e-3)
    assert result["out"] == pytest.approx((3 + 5 + 8 + 6) / 4, rel=1e-3)
    moved = real_px + np.array(
        [3.0, 0, 0]
    )  # the landmarks slip over a picture that stands still: that is seen
    meter.add(real, out, moved, out_px)
    meter.add(real, out, real_px, out_px)
    assert meter.result()["real"] > result["real"] * 1.1


def test_unwrap_samples_the_frame_at_the_texels_place() -> None:
    # two triangles over the whole uv square; the "face" is that square, scaled and moved
    uvs = np.zeros((478, 2))
    uvs[:4] = [[0, 0], [1, 0], [1, 1], [0, 1]]
    faces_ccw = np.array([[0, 3, 1], [1, 3, 2]])  # counter-clockwise with y up
    points = np.zeros((478, 3))
    points[:4, :2] = [[40, 30], [104, 30], [104, 94], [40, 94]]
    y, x = np.mgrid[:120, :160] + 0.5
    frame = np.stack([x, y, 0 * x], axis=-1).astype(np.float32)
    texture, visible = LandmarkUnwrap(uvs, faces_ccw, 32)(frame, points)
    v, u = (np.mgrid[:32, :32] + 0.5) / 32
    assert visible.all()
    np.testing.assert_allclose(texture[..., 0], 40 + 64 * u, atol=0.05)
    np.testing.assert_allclose(texture[..., 1], 30 + 64 * v, atol=0.05)
    mirrored = points.copy()
    mirrored[:, 0] = 150 - mirrored[:, 0]
    assert not LandmarkUnwrap(uvs, faces_ccw, 32)(frame, mirrored)[1].any()  # seen from behind
    moved = points - (72, 0, 0)  # half of it leaves the frame
    assert 0.4 < LandmarkUnwrap(uvs, faces_ccw, 32)(frame, moved)[1].mean() < 0.6
