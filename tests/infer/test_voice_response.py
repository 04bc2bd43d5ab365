"""A head that answers the voice is told from one that does not, and answers again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from talkjax.data.motion_corpus import draw_voice
from talkjax.infer import voice_response


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Six series of which the first nods 0.2 s after onsets and the third sways with the level."""
    rng = np.random.default_rng(2)
    rhythm = draw_voice(rng, 400)
    own = gaussian_filter1d(rng.normal(size=(400, 6)), 5, axis=0)
    own /= own.std(0)
    nod = gaussian_filter1d(np.roll(rhythm[:, 2], 5), 2)
    sway = gaussian_filter1d(np.roll(rhythm[:, 1], 2), 3)
    own[:, 0] += 1.5 * nod / nod.std()
    own[:, 2] -= 1.5 * sway / sway.std()
    return own / own.std(0), rhythm


def test_only_series_that_answer_answer_and_no_more_than_allowed(clip):
    response = voice_response.fit_voice_response(*clip)
    assert response.share[0] == response.share[2] == voice_response.LARGEST_SHARE
    assert np.sum(response.share[[1, 3, 4, 5]] > 0) <= 1  # chance passes one in ten
    answer = response(clip[1])
    np.testing.assert_allclose(answer.var(0), response.share, atol=0.03)


def test_the_answer_to_another_voice_is_the_one_that_it_was_made_of(clip):
    response = voice_response.fit_voice_response(*clip)
    voice = draw_voice(np.random.default_rng(9), 500)
    answer = response(voice)
    nod = gaussian_filter1d(np.roll(voice[:, 2], 5), 2)
    assert np.corrcoef(answer[20:, 0], nod[20:])[0, 1] > 0.7
    sway = gaussian_filter1d(np.roll(voice[:, 1], 2), 3)
    assert np.corrcoef(answer[20:, 2], sway[20:])[0, 1] < -0.7


def test_a_short_clip_answers_nothing():
    response = voice_response.fit_voice_response(np.zeros((60, 6)), np.zeros((60, 3)))
    assert not response.share.any() and not response(np.ones((30, 3))).any()
