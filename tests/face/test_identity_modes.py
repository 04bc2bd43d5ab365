"""Identity modes: ordered, smooth, nearly symmetric, repeatable, with the prior's size."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.face import mesh468
from talkjax.face.identity_modes import gp_identity_modes
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture(scope="module")
def modes() -> np.ndarray:
    return gp_identity_modes(drawn_neutral())


def test_modes_are_ordered_orthogonal_and_repeatable(modes):
    flat = modes.reshape(80, -1)
    gram = flat @ flat.T
    strength = np.diag(gram)
    assert np.all(np.diff(strength) <= 1e-9)
    np.testing.assert_allclose(gram, np.diag(strength), atol=1e-8)
    np.testing.assert_array_equal(gp_identity_modes(drawn_neutral()), modes)


def test_a_random_identity_is_as_large_as_the_prior_says(modes):
    # symmetric part of variance 0.07^2 + 0.042^2 + 0.02^2 per axis, of which about half is symmetric
    spread = np.sqrt((modes**2).sum((0, 2)))  # standard deviation of a vertex over random identities
    whole = np.sqrt(3 * (0.07**2 + 0.042**2 + 0.02**2))
    assert 0.5 * whole < np.median(spread) < whole


def test_modes_are_smooth_and_mostly_symmetric(modes):
    edges = np.concatenate([mesh468.FACES_SKIN[:, [0, 1]], mesh468.FACES_SKIN[:, [1, 2]]])
    change = np.linalg.norm(modes[:20, edges[:, 0]] - modes[:20, edges[:, 1]], axis=-1)
    assert change.mean() < 0.2 * np.linalg.norm(modes[:20], axis=-1).mean()
    eyes = modes[:, [33, 263]]  # mirror pair: symmetric modes have equal y, z and opposite x
    together = ((eyes[:, 0, 1:] + eyes[:, 1, 1:]) ** 2).sum()
    apart = ((eyes[:, 0, 1:] - eyes[:, 1, 1:]) ** 2).sum()
    assert apart < 0.15 * together
