import numpy as np
import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import DivergedError, UsageError
from edgedistill.openset.threshold import (
    calibrate,
    images_needed,
    threshold_keeping,
    too_few_images,
)


def test_the_threshold_is_closely_below_the_kth_smallest_score() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    # floor(0.05 * 100) = 5, and 1e-5 of the range.
    assert calibrate(scores, 0.95) == np.float32(5 - 98e-5)


@pytest.mark.parametrize(
    ("n", "target_keep_rate", "k"),
    # Every product here is a whole number that binary floats land just below or above.
    [(9, 0.9, 1), (19, 0.95, 1), (29, 0.9, 3), (99, 0.93, 7), (999, 0.999, 1), (9, 0.3, 7)],
)
def test_whole_products_are_not_lost_to_rounding(n: int, target_keep_rate: float, k: int) -> None:
    scores = np.arange(1.0, n + 1)
    threshold = calibrate(scores, target_keep_rate)
    assert (scores >= threshold).sum() == n - k + 1
    assert threshold == np.float32(k - 1e-5 * (n - 1))


@pytest.mark.parametrize(("n", "target_keep_rate"), [(0, 0.95), (18, 0.95), (1000, 1.0)])
def test_too_few_images_accept_everything(n: int, target_keep_rate: float) -> None:
    assert calibrate(np.arange(float(n)), target_keep_rate) == -np.inf


def test_ties_keep_at_least_the_share() -> None:
    scores = np.array([0.2] * 50 + [0.8] * 50)
    threshold = calibrate(scores, 0.75)
    assert 0.2 - 1e-4 < threshold < 0.2 and (scores >= threshold).all()


def test_scores_too_close_to_cut_between_are_kept_together() -> None:
    # Range 1, so scores within 1e-5 of the quantile are tied; 0.3 is the widest gap below them.
    scores = np.array([0.0, 0.1, 0.5, *(0.8 + 1e-6 * np.arange(6)), 1.0])
    for count in range(2, 8):
        assert threshold_keeping(scores, count) == pytest.approx(0.8 - 1e-5, abs=1e-7)
    assert threshold_keeping(scores, 1) == pytest.approx(1 - 1e-5, abs=1e-7)
    assert threshold_keeping(scores, 8) == pytest.approx(0.5 - 1e-5, abs=1e-7)
    # In a gap narrower than twice that, the middle.
    close = np.array([0.0, 0.5, 0.500015, 1.0])
    assert threshold_keeping(close, 2) == pytest.approx(0.5000075, abs=1e-7)


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.95])
def test_saturated_scores_decide_alike_after_an_error_of_a_few_last_bits(keep: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(14, 6, 400)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    assert (scores == 1).mean() > 0.2
    threshold = calibrate(scores, keep)
    kept = scores >= threshold
    assert kept.mean() >= keep and threshold not in scores
    for error in (-3e-7, 3e-7):
        np.testing.assert_array_equal((scores + np.float32(error)) >= threshold, kept)


def test_a_gap_narrower_than_float32_still_keeps_the_count() -> None:
    scores = np.array([1.0, np.nextafter(1, 2), 5.0])
    assert (scores >= threshold_keeping(scores, 2)).sum() >= 2
    equal = np.ones(40, np.float32)
    assert 0.99999 < calibrate(equal, 0.5) < 1
    assert calibrate(np.zeros(40), 0.5) < 0


@pytest.mark.parametrize(("keep", "needed"), [(0.95, 19), (0.98, 49), (0.9, 9), (0.75, 3)])
def test_the_images_needed_are_the_fewest_that_reject_any(keep: float, needed: int) -> None:
    assert images_needed(keep) == needed
    assert too_few_images(needed, keep) is None
    assert str(needed) in (too_few_images(needed - 1, keep) or "")
    assert calibrate(np.arange(float(needed)), keep) > -np.inf
    assert calibrate(np.arange(float(needed - 1)), keep) == -np.inf


def test_no_number_of_images_rejects_any_where_all_are_to_be_kept() -> None:
    assert images_needed(1.0) is None


@pytest.mark.parametrize("target_keep_rate", [0.0, -0.1, 1.01, float("nan"), 95])
def test_acceptance_is_a_share(target_keep_rate: float) -> None:
    with raises(UsageError, "target_keep_rate", target_keep_rate):
        calibrate(np.arange(5.0), target_keep_rate)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with raises(DivergedError, "1 of 3 calibration scores"):
        calibrate(np.array([1.0, np.nan, 2.0]))


@given(
    scores=st.lists(st.floats(-10, 10), min_size=1, max_size=60),
    target_keep_rate=st.floats(0.01, 1.0),
)
def test_the_calibration_images_themselves_are_kept(
    scores: list[float], target_keep_rate: float
) -> None:
    keep_rate = np.mean(np.array(scores) >= calibrate(np.array(scores), target_keep_rate))
    assert keep_rate >= target_keep_rate - (1 - target_keep_rate) / len(scores) - 1e-12


@given(
    scores=st.lists(st.integers(-50, 50), min_size=1, max_size=60),
    target_keep_rate=st.floats(0.01, 1.0),
)
def test_a_monotone_transform_moves_the_threshold_with_it(
    scores: list[int], target_keep_rate: float
) -> None:
    values = np.array(scores, float)
    threshold = calibrate(values, target_keep_rate)
    moved = calibrate(np.exp(values / 50), target_keep_rate)
    np.testing.assert_array_equal(values >= threshold, np.exp(values / 50) >= moved)


@pytest.mark.parametrize(("n", "target_keep_rate"), [(19, 0.95), (50, 0.9), (33, 0.8)])
def test_coverage_of_a_new_image_over_random_draws(n: int, target_keep_rate: float) -> None:
    rng = np.random.default_rng(7)
    draws = 4000
    scores = rng.normal(size=(draws, n + 1))
    thresholds = np.array([calibrate(row[:-1], target_keep_rate) for row in scores])
    coverage = np.mean(scores[:, -1] >= thresholds)
    noise = 4 * np.sqrt(target_keep_rate * (1 - target_keep_rate) / draws)
    assert target_keep_rate - noise <= coverage < target_keep_rate + 1 / (n + 1) + noise
