import numpy as np
import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import DivergedError, UsageError
from edgedistill.openset.threshold import calibrate


def test_kth_smallest_score() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert calibrate(scores, 0.95) == 5.0  # floor(0.05 * 100) = 5


@pytest.mark.parametrize(
    ("n", "target_keep_rate", "k"),
    # Every product here is a whole number that binary floats land just below or above.
    [(9, 0.9, 1), (19, 0.95, 1), (29, 0.9, 3), (99, 0.93, 7), (999, 0.999, 1), (9, 0.3, 7)],
)
def test_whole_products_are_not_lost_to_rounding(n: int, target_keep_rate: float, k: int) -> None:
    assert calibrate(np.arange(1.0, n + 1), target_keep_rate) == k


@pytest.mark.parametrize(("n", "target_keep_rate"), [(0, 0.95), (18, 0.95), (1000, 1.0)])
def test_too_few_images_accept_everything(n: int, target_keep_rate: float) -> None:
    assert calibrate(np.arange(float(n)), target_keep_rate) == -np.inf


def test_ties_keep_at_least_the_share() -> None:
    scores = np.array([0.2] * 50 + [0.8] * 50)
    threshold = calibrate(scores, 0.75)
    assert threshold == 0.2 and (scores >= threshold).all()


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
    moved = calibrate(np.exp(values / 10), target_keep_rate)
    np.testing.assert_array_equal(values >= threshold, np.exp(values / 10) >= moved)


@pytest.mark.parametrize(("n", "target_keep_rate"), [(19, 0.95), (50, 0.9), (33, 0.8)])
def test_coverage_of_a_new_image_over_random_draws(n: int, target_keep_rate: float) -> None:
    rng = np.random.default_rng(7)
    draws = 4000
    scores = rng.normal(size=(draws, n + 1))
    thresholds = np.array([calibrate(row[:-1], target_keep_rate) for row in scores])
    coverage = np.mean(scores[:, -1] >= thresholds)
    noise = 4 * np.sqrt(target_keep_rate * (1 - target_keep_rate) / draws)
    assert target_keep_rate - noise <= coverage < target_keep_rate + 1 / (n + 1) + noise
