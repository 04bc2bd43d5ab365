"""Augmentation of log-mel rows: what each part may and may not change."""

from __future__ import annotations

import jax
import numpy as np

from talkjax.audio import spoil


def test_warps_move_a_peak_along_the_frequency_axis() -> None:
    matrices, centers = spoil.warp_matrices(), spoil.band_centers()
    plain = int(np.argmin(np.abs(spoil.WARPS - 1)))
    moved = [centers[np.argmax(np.exp(-(((centers - 1500) / 200) ** 2)) @ m)] for m in matrices]
    assert np.all(np.diff(moved) <= 0) and moved[0] > 1600 > 1400 > moved[-1]
    np.testing.assert_allclose(matrices[plain].sum(0), 1, atol=1e-6)


def test_sequences_differ_and_strength_0_leaves_all_but_the_hiss() -> None:
    rows = np.random.default_rng(0).normal(0, 2, (16, 30, 40)).astype(np.float32)
    out = np.asarray(spoil.spoil_rows(jax.random.key(0), rows, strength=0.0))
    plain = rows @ spoil.warp_matrices()[int(np.argmin(np.abs(spoil.WARPS - 1)))]
    untouched = [b for b in range(16) if np.allclose(out[b], plain[b], atol=1e-4)]
    assert 0 < len(untouched) < 16  # hiss comes to three quarters of the sequences
    assert np.all(out >= plain - 1e-3)  # and only adds power
    strong = np.asarray(spoil.spoil_rows(jax.random.key(0), rows, np.zeros_like(rows)))
    assert np.isfinite(strong).all() and np.abs(strong - rows).mean((1, 2)).min() > 0.2


def test_hidden_bands_are_few_and_neighbours() -> None:
    rows = np.full((50, 20, 40), 5, np.float32)
    out = np.asarray(spoil.hide_bands(jax.random.key(1), rows))
    hidden = np.abs(out).mean(1) < 1
    assert hidden.sum(1).max() <= 7 and hidden.sum() > 50
    assert all(np.ptp(np.flatnonzero(h)) == h.sum() - 1 for h in hidden if h.any())
