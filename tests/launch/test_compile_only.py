"""Shapes of the training steps against the real inputs and tasks; compiling them takes too long here."""

from __future__ import annotations

import pathlib

import jax
import pytest

from launch import compile_only, mapping_general, shapes
from talkjax.config import GeneralMappingConfig, PretrainConfig, ReconstructionConfig
from talkjax.errors import InputError
from talkjax.track.regressed import WEIGHTS
from talkjax.train.params_file import load_params
from talkjax.train.sharding import Rows

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "goldens" / "speech_corpus"


def _plain(tree):
    return [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(tree)]


def test_the_mapping_is_the_one_that_is_trained():
    config = GeneralMappingConfig(batch=4)
    real = mapping_general.make_job(config, str(CORPUS))
    made = shapes.of_config(config, "cpu")
    assert _plain(made.batch) == _plain(real.input_for(Rows(0, 1)).spec)
    assert _plain(jax.eval_shape(made.job.init)) == _plain(jax.eval_shape(real.init))


def test_the_reconstruction_is_the_one_that_ships():
    tree, about = load_params(WEIGHTS)
    config = ReconstructionConfig(width=about["width"], units=about.get("units", 1))
    made = shapes.of_config(config, "cpu")
    state = jax.eval_shape(made.job.init)
    assert [shape for shape, _ in _plain(state.params)] == [shape for shape, _ in _plain(tree["params"])]
    drawn = jax.eval_shape(made.job.phases[0].step, state, made.batch, *made.job.constants)
    assert _plain(drawn[0]) == _plain(state) and drawn[1]["loss"].shape == ()


def test_sizes_of_the_papers_networks():
    """Parameter counts that networks.md §1 measured on the reference itself (generator, discriminator)."""
    state = jax.eval_shape(shapes.refiner_paper(1, "float32").job.init)
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(state.params) == 259_055_556 and count(state.discriminator) == 2_774_849
    assert compile_only.trained_parameters(state) == count((state.params, state.discriminator, state.query))


def test_words_that_cannot_be():
    with pytest.raises(InputError, match="PretrainConfig has no shapes"):
        shapes.of_config(PretrainConfig(), "cpu")
    with pytest.raises(InputError, match="no gradient accumulation"):
        shapes.mapping_paper(4, "float32", 2)
    for words in (["2"], ["a", "1", "1"]):
        with pytest.raises(InputError, match="expected three numbers"):
            compile_only.mesh_shape(words)
