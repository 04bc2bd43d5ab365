"""Training input: the same global batches for any number of processes, and from any step on."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from talkjax.audio.log_mel import log_mel
from talkjax.data.mapping_batches import GeneralBatches, make_items, raw_rows
from talkjax.data.speech_corpus import SpeechCorpus
from talkjax.data.train_input import mapping_input, refiner_input
from talkjax.errors import InputError
from tests.data.test_corpora import GOLDEN, SIZE, frames, speech, without_tensorflow  # noqa: F401

BATCH, STEP = 8, 5


def _inputs(kind, speech, frames, **options):  # noqa: F811
    if kind == "mapping":
        return mapping_input(speech, batch=BATCH, seed=3, n_frames=40, versions=2, **options)
    return refiner_input(frames["jpeg"], batch=BATCH, seed=3, preset=kind, **options)


def _same(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", ["mapping", "lite", "paper"])
def test_any_number_of_processes_sees_the_same_batches(kind, speech, frames):  # noqa: F811
    whole = list(itertools.islice(_inputs(kind, speech, frames).batches(STEP), 3))
    for count in (2, 4):
        parts = [
            _inputs(kind, speech, frames, process_index=p, process_count=count).batches(STEP)
            for p in range(count)
        ]
        for batch in whole:
            local = [next(part) for part in parts]
            assert all(len(leaf) == BATCH // count for leaf in jax.tree.leaves(local))
            _same(jax.tree.map(lambda *rows: np.concatenate(rows), *local), batch)


@pytest.mark.parametrize("kind", ["mapping", "lite", "paper"])
def test_a_resumed_run_goes_on_exactly(kind, speech, frames):  # noqa: F811
    first = list(itertools.islice(_inputs(kind, speech, frames).batches(0), 4))
    resumed = _inputs(kind, speech, frames, threads=1).batches(2)
    for batch in first[2:]:
        _same(next(resumed), batch)
    leaves = [jax.tree.leaves(batch)[0] for batch in first]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(leaves, 2))


def test_shapes_and_bytes(speech, frames):  # noqa: F811
    for kind in ("mapping", "lite", "paper"):
        source = _inputs(kind, speech, frames)
        batch = next(source.batches(0))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == jax.tree.map(
            lambda s: (s.shape, s.dtype), source.spec
        )
    assert batch.window.shape == (BATCH, SIZE, SIZE, 9) and batch.window.dtype == np.uint8
    np.testing.assert_allclose(np.linalg.norm(batch.identity, axis=1), 1, rtol=1e-5)


def test_augmentation_moves_all_pictures_alike(frames):  # noqa: F811
    plain = refiner_input(frames["raw"], batch=4, seed=1, augment=False)
    moved = refiner_input(frames["raw"], batch=4, seed=1)
    shifts = set()
    for row in range(4):
        a, b = plain.row(0, row), moved.row(0, row)
        found = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if np.array_equal(np.roll(a.target, (dy, dx), (0, 1)), b.target)
        ]
        assert len(found) == 1
        for name in ("window", "many", "one", "region"):
            there = np.roll(getattr(a.inputs, name), found[0], (0, 1))
            np.testing.assert_array_equal(there, getattr(b.inputs, name))
        shifts.add(found[0])
    assert len(shifts) > 1


def test_input_from_disk_is_input_from_memory(speech):  # noqa: F811
    """The npz shards, the TFDS corpus of them and items in memory give one batch."""
    items = list(make_items(SpeechCorpus.open(GOLDEN).select("train"), 2, 3))
    wanted = GeneralBatches(items, BATCH, 40, 3)(STEP)
    for corpus in (speech, GOLDEN):
        source = mapping_input(corpus, batch=BATCH, seed=3, n_frames=40, versions=2)
        _same(next(source.batches(STEP)), wanted)


def test_features_without_a_device_are_those_of_the_network():
    wav = SpeechCorpus.open(GOLDEN)[0].wav.astype(np.float32) / 32768
    wanted = np.asarray(log_mel(wav), np.float16).astype(np.float32)
    np.testing.assert_allclose(raw_rows(wav).astype(np.float32), wanted, atol=0.01)


def test_a_batch_that_does_not_divide_is_refused(speech):  # noqa: F811
    with pytest.raises(InputError, match=r"batch 6 over 4 processes.*multiple.*--set=batch=8"):
        mapping_input(speech, batch=6, seed=0, process_count=4)


@pytest.mark.slow
def test_worker_processes_make_the_same_batches_in_order(frames):  # noqa: F811
    wanted = itertools.islice(_inputs("lite", None, frames).batches(STEP), 3)
    made = _inputs("lite", None, frames, workers=2, threads=1).batches(STEP)
    for batch in wanted:
        _same(next(made), batch)
    made.close()
