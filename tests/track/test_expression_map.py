"""The map to a model's axes: onto the deformers themselves, scaled, turned and mixed."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.face.deformers import EXP_NAMES
from talkjax.face.person import person_model
from talkjax.track.expression_map import expression_map
from talkjax.track.lift import canonical_frame
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture(scope="module")
def model():
    return person_model(canonical_frame(drawn_neutral()), n_id=2)


def moved(model, basis):
    """The model in another frame (turned, 10 times as large, elsewhere) with other expression axes."""
    turn = np.array([[0.0, 0.0, 10.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]])
    return dataclasses.replace(
        model,
        mean=jnp.asarray(np.asarray(model.mean) @ turn.T + 3.0, jnp.float32),
        exp_basis=jnp.asarray(basis @ turn.T, jnp.float32),
        id_basis=model.id_basis[:0],
        exp_signed=jnp.ones(len(basis), bool),
        exp_names=tuple(f"axis_{k}" for k in range(len(basis))),
    )


def test_axes_that_are_deformers_are_found_whatever_the_frame(model):
    kept = [EXP_NAMES.index(name) for name in ("jawOpen", "pucker", "blink_L", "browInUp_R")]
    found = expression_map(moved(model, 0.5 * np.asarray(model.exp_basis)[kept]))
    for row, k in enumerate(kept):
        assert found.matrix[k, row] == pytest.approx(2.0, rel=0.08)
        assert np.abs(np.delete(found.matrix[k], row)).max() < 0.25
        assert found.error[k] < 0.1
    assert found.error[EXP_NAMES.index("blink_R")] > 0.9  # no axis moves that eye
    one = np.zeros(len(EXP_NAMES))
    one[kept[1]] = 0.5
    assert found(one)[1] == pytest.approx(1.0, rel=0.08)


def test_weights_keep_the_signs_that_the_axes_allow(model):
    basis = -np.asarray(model.exp_basis)[[EXP_NAMES.index("jawOpen")]]
    backwards = moved(model, basis)
    assert expression_map(backwards).matrix[0, 0] == pytest.approx(-1.0, rel=0.05)
    forbidden = dataclasses.replace(backwards, exp_signed=jnp.zeros(1, bool))
    found = expression_map(forbidden)
    assert found.matrix[0, 0] == 0.0 and found.error[0] == pytest.approx(1.0)


def test_missing_landmarks_are_named(model):
    points = model.landmarks
    few = dataclasses.replace(points, number=points.number[:9], verts=points.verts[:9], bary=points.bary[:9])
    with pytest.raises(ValueError, match="has 9 of the 468 landmarks"):
        expression_map(dataclasses.replace(model, landmarks=few))
