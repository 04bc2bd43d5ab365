"""A training of the reconstruction network that begins where another ended."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from launch.reconstruction import make_job
from talkjax.assets.model_file import save_model
from talkjax.config import ReconstructionConfig
from talkjax.errors import InputError
from talkjax.train.params_file import save_params
from tests.data.test_synthetic_faces import person_model


def test_a_run_starts_from_anothers_weights_and_refuses_those_of_another_network(tmp_path):
    face = tmp_path / "face.npz"
    save_model(face, person_model())
    config = ReconstructionConfig(face_model=str(face), size=37, batch=16, width=8, units=1, steps=4)
    state = make_job(config, None).init()
    moved = jax.tree.map(lambda x: np.asarray(x, np.float16) + np.float16(0.5), state.params)
    weights = tmp_path / "weights.npz"
    save_params(weights, {"params": moved}, {"kind": "reconstruction_small", "width": 8})

    started = make_job(dataclasses.replace(config, start_from=str(weights), seed=3), None).init()
    for tree in (started.params, started.average):
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.float32(y)), tree, moved)
    assert int(started.step) == 0
    with pytest.raises(InputError, match="network of width 8"):
        make_job(dataclasses.replace(config, start_from=str(weights), width=12), None)
    with pytest.raises(InputError, match="no weights"):
        make_job(dataclasses.replace(config, start_from=str(tmp_path / "none.npz")), None)
