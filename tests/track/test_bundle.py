"""Bundle adjustment of a drawn person whose depth the landmarks get wrong."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.face import mesh468
from talkjax.track.bundle import IdentityFit, fit_identity
from talkjax.track.lift import canonical_frame, lift_neutral
from talkjax.track.temporal import FaceTrack, landmark_error
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.moving_face import HEIGHT, WIDTH, MovingFace, moving_face

N = 60
VALID = ~np.isin(np.arange(N), [30, 31])


@pytest.fixture(scope="module")
def clip() -> MovingFace:
    clip = moving_face(drawn_neutral(), N, depth_scale=0.8)
    clip.landmarks[~VALID] = np.nan
    return clip


@pytest.fixture(scope="module")
def fit(clip) -> IdentityFit:
    return fit_identity(clip.landmarks, VALID, clip.camera)


def test_every_frame_is_explained(clip, fit):
    assert fit.exp_coeffs.shape == (N, 43)
    assert np.isfinite(fit.exp_coeffs).all()
    error = landmark_error(fit.model, FaceTrack(fit.pose, fit.exp_coeffs, VALID), clip.landmarks, clip.camera)
    assert np.isnan(error[~VALID]).all()
    assert error[VALID].mean() < 0.6  # % of the eye distance; noise alone gives 0.28
    assert error[VALID][:, mesh468.LIPS].mean() < 0.6


def test_views_correct_the_depth_that_the_landmarks_got_wrong(clip, fit):
    truth = canonical_frame(np.asarray(clip.model.mean, np.float64))
    lifted = lift_neutral(clip.landmarks, (WIDTH, HEIGHT), VALID)
    before = np.abs(lifted - truth)[:, 2].mean()
    after = np.abs(np.asarray(fit.model.mean) - truth)[:, 2].mean()
    assert before > 0.02  # the fixture is really wrong
    assert after < 0.5 * before


def test_identity_is_folded_into_a_canonical_mean(fit):
    mean = np.asarray(fit.model.mean)
    np.testing.assert_allclose(mean[263] - mean[33], [0.9, 0, 0], atol=1e-5)
    assert abs(mean[13, 1] - mean[14, 1]) < 0.03  # lips closed
    resting = fit.exp_coeffs[: N // 3][VALID[: N // 3]]
    assert np.abs(np.median(resting, axis=0)).max() < 0.2  # a mouth at rest is near zero


def test_pose_and_jaw_follow_the_truth(clip, fit):
    away = np.asarray(fit.pose.euler - clip.pose.euler)[VALID]
    # the canonical frame may be turned by a constant; motion may not
    assert np.rad2deg((away - away.mean(0)).std(0)).max() < 1.0
    opening = clip.model.exp_names.index("jawOpen"), clip.model.exp_names.index("lowerDown")
    told = sum(clip.exp_coeffs[VALID][:, k] for k in opening)
    found = sum(fit.exp_coeffs[VALID][:, k] for k in opening)
    assert np.corrcoef(told, found)[0, 1] > 0.9


def test_refuses_what_the_lift_refuses(clip):
    with pytest.raises(InputError, match="frames show the whole face"):
        fit_identity(clip.landmarks, np.arange(N) < 10, clip.camera)
