"""Shift of unlabelled scores against source validation."""

import numpy as np
import pytest

from edgedistill.openset.shift import score_histograms, score_shift


def test_the_area_counts_pairs_and_ties_half() -> None:
    # Of 2 * 3 pairs: 4 > 1, 4 > 3, 4 = 4, 2 > 1; 2 < 3, 2 < 4.
    shift = score_shift(np.array([4.0, 2.0]), np.array([1.0, 3.0, 4.0]))
    assert shift is not None and shift["auroc"] == pytest.approx(3.5 / 6)


def test_scores_of_the_same_distribution_are_not_far() -> None:
    rng = np.random.default_rng(0)
    shift = score_shift(rng.normal(size=2000), rng.normal(size=300))
    assert shift is not None and not shift["far"]
    assert shift["auroc"] == pytest.approx(0.5, abs=0.06)


def test_lower_scores_are_far_and_higher_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    val, low = rng.normal(size=500), rng.normal(-1.5, size=500)
    far, near = score_shift(val, low), score_shift(low, val)
    # For equal variances the area is the normal distribution function at 1.5 / sqrt(2).
    assert far is not None and far["far"] and far["auroc"] == pytest.approx(0.8556, abs=0.03)
    assert near is not None and not near["far"]
    assert near["auroc"] == pytest.approx(1 - far["auroc"])


def test_a_handful_of_images_is_not_called_far_by_chance() -> None:
    val = np.linspace(0, 1, 100)
    few = score_shift(val, np.array([0.1]))
    assert few is not None and few["auroc"] > few["bound"] and not few["far"]


def test_scores_that_are_all_equal_tell_nothing() -> None:
    shift = score_shift(np.ones(50), np.ones(40))
    assert shift is not None and (shift["auroc"], shift["p_value"]) == (0.5, 1.0)
    assert score_shift(np.ones(5), np.zeros(0)) is score_shift(np.zeros(0), np.ones(5)) is None


def test_histograms_share_their_bins_and_count_every_score() -> None:
    both = score_histograms(np.array([0.0, 0.1, 1.0]), np.array([-1.0, 0.5]), bins=4)
    assert both["edges"] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert both["source_val"] == [0, 0, 2, 1] and both["target"] == [1, 0, 0, 1]
    empty = score_histograms(np.zeros(0), np.zeros(0))
    assert empty == {"edges": [], "source_val": [], "target": []}
