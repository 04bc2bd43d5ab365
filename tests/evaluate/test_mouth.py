"""Figures of predicted coefficients: openings on the model, AUC, bootstrap, closed bilabials."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from talkjax.data.coarticulation import articulate
from talkjax.evaluate import mouth, speech


def test_auc_is_the_rank_statistic_with_ties() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.3
    expected = mannwhitneyu(score[positive], score[~positive]).statistic / (
        positive.sum() * (~positive).sum()
    )
    assert speech.auc(score, positive) == pytest.approx(expected)
    assert np.isnan(speech.auc(score, np.ones(200, bool)))


def test_bootstrap_interval_holds_r_and_narrows_with_length() -> None:
    rng = np.random.default_rng(1)
    smooth = np.convolve(rng.normal(size=4000), np.ones(8) / 8, "same")
    out = smooth + rng.normal(0, 0.3, 4000)
    widths = []
    for n in (200, 3000):
        low, high = speech.bootstrap_interval(smooth[:n], out[:n])
        assert low < speech.pearson(smooth[:n], out[:n]) < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]
    assert np.isnan(speech.bootstrap_interval(smooth[:40], out[:40])).all()


def test_closed_bilabials_are_counted_where_the_phone_is() -> None:
    phones = [("aa", 0.2), ("m", 0.32), ("aa", 0.6), ("p", 0.7), ("aa", 1.0), ("b", 1.08), ("aa", 1.4)]
    opening = articulate(phones, (np.arange(35) + 0.5) / 25)[:, 0]
    opening[5:8] = 0.0  # m
    opening[15:18] = 0.0  # p
    opening[25:27] = 0.5  # b stays open
    share, count = mouth.closed_bilabials(opening, phones)
    assert count == 3 and share == pytest.approx(2 / 3)
    later, count = mouth.closed_bilabials(opening[12:], phones, first_second=12 / 25)
    assert count == 2 and later == pytest.approx(1 / 2)


def test_dimension_correlations_take_sides_together() -> None:
    rng = np.random.default_rng(2)
    names = ("jawOpen", "pucker", "stretch_R", "stretch_L", "upperUp", "blink_R")
    real = rng.normal(size=(100, 6))
    out = real.copy()
    out[:, 2], out[:, 3] = real[:, 3], real[:, 2]  # swapped sides: the same together
    out[:, 1] = rng.normal(size=100)
    figures = mouth.dimension_correlations(names, real, out)
    assert figures["jaw"] == figures["stretch"] == pytest.approx(1)
    assert abs(figures["pucker"]) < 0.3
    four = [figures[k] for k in ("jaw", "pucker", "stretch", "upper_lip")]
    assert figures["mean"] == pytest.approx(np.mean(four))
