"""Verification and identity distance against loops over pairs and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.evaluate.identity import identity_figures, mean_distance, pair_scores, verification


def people(rng: np.random.Generator, spread: float) -> tuple[np.ndarray, np.ndarray]:
    centers = rng.normal(size=(6, 8))
    person = np.repeat(np.arange(6), 4)
    return centers[person] + spread * rng.normal(size=(24, 8)), person


def test_verification_against_loops() -> None:
    rows, person = people(np.random.default_rng(0), 0.9)
    scores, same = pair_scores(rows, person)
    assert same.sum() == 6 * 6 and len(same) == 24 * 23 / 2
    yes, no = scores[same], scores[~same]
    figures = verification(scores, same)
    assert figures["auc"] == pytest.approx(np.mean([a > b for a in yes for b in no]), abs=1e-3)
    gaps = [
        (abs((no >= t).mean() - (yes < t).mean()), ((no >= t).mean() + (yes < t).mean()) / 2) for t in scores
    ]
    assert figures["eer"] == pytest.approx(min(gaps)[1], abs=1e-6)
    allowed = sorted(no)[-int(0.01 * len(no)) - 1]
    assert figures["tar_at_1"] == pytest.approx((yes > allowed).mean(), abs=1e-6)


def test_what_can_be_told_apart_and_what_cannot() -> None:
    rng = np.random.default_rng(1)
    near = verification(*pair_scores(*people(rng, 1e-3)))
    assert near["auc"] == 1.0 and near["eer"] == 0.0 and near["tar_at_1"] == 1.0
    rows, person = people(rng, 1.0)
    blind = verification(*pair_scores(rng.normal(size=rows.shape), person))
    assert 0.35 < blind["auc"] < 0.65


def test_distances_of_a_result() -> None:
    rng = np.random.default_rng(2)
    me, other = rng.normal(size=(2, 16))
    training, heldout, result = (me + 0.3 * rng.normal(size=(20, 16)) for _ in range(3))
    pairs = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in result for b in heldout]
    assert mean_distance(result, heldout) == pytest.approx(np.mean(pairs))
    own = identity_figures(result, heldout, training)
    assert own["ratio"] == pytest.approx(1, abs=0.2) and own["frames"] == 20
    drifted = identity_figures(result + 0.5 * other, heldout, training)
    somebody = identity_figures(other + 0.3 * rng.normal(size=(20, 16)), heldout, training)
    assert own["ratio"] < drifted["ratio"] < somebody["ratio"] and somebody["ratio"] > 3
    assert own["center_ratio"] < drifted["center_ratio"] and drifted["center_ratio"] > 3
