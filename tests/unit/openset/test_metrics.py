from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgedistill.openset import metrics


@st.composite
def runs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores with many ties, correct, known) with at least one known and one unknown image."""
    n = draw(st.integers(2, 40))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, draw(st.integers(1, 30)), size=n) / 4
    known = rng.random(n) < draw(st.floats(0.1, 0.9))
    assume(0 < known.sum() < n)
    return scores, known & (rng.random(n) < 0.7), known


# --- published vectors -----------------------------------------------------------------------


def test_seed_grid_vector() -> None:
    probabilities = np.array([[15, 1], [10, 6], [4, 12], [9, 7], [3, 13]]) / 16
    labels = np.array([0, 0, 1, 2, 2])
    grid = metrics.seed_grid_h_scores(probabilities, labels, 2)
    assert grid is not None
    np.testing.assert_allclose(grid, [0] * 6 + [4 / 7, 4 / 7, 0.5, 0.5], atol=1e-12)
    assert grid.max() == pytest.approx(0.5714286, abs=1e-7)
    assert grid.mean() == pytest.approx(0.2142857, abs=1e-7)
    relabelled = np.where(labels == 2, -1, labels)
    np.testing.assert_array_equal(metrics.seed_grid_h_scores(probabilities, relabelled, 2), grid)
    assert metrics.closed_set_accuracy(probabilities.argmax(1), relabelled) == 1.0


def test_seed_grid_ends_at_the_largest_entry() -> None:
    # 0.06 + (0.57 - 0.06) exceeds 0.57 in floats: computed that way, nothing would survive the end.
    probabilities = np.array([[0.57, 0.37, 0.06], [0.4, 0.35, 0.25]])
    grid = metrics.seed_grid_h_scores(probabilities, np.array([0, -1]), 3)
    assert grid is not None and grid[-1] == 1.0 and grid[0] == 0.0


def test_seed_grid_ties_what_float32_cannot_tell_apart() -> None:
    """Two known images whose largest softmax rounds to 1 both reach the last threshold."""
    logits = np.array([[20.0, 0.0], [40.0, 0.0], [1.0, 0.0]])
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert softmax[0, 0] < softmax[1, 0]  # in float64
    grid = metrics.seed_grid_h_scores(softmax, np.array([0, 0, -1]), 2)
    assert grid is not None and grid[-1] == 1.0
    ranges = metrics.ProbabilityRange.of(softmax)
    assert np.array_equal(metrics.seed_grid_h_scores(ranges, np.array([0, 0, -1]), 2), grid)


def test_auroc_vector() -> None:
    scores = np.array([3, 1, 2, 0.5, 2.5])
    assert metrics.auroc(scores, np.array([1, 1, 1, 0, 0], bool)) == pytest.approx(4 / 6)


def test_h2_cv_vector() -> None:
    values = [60.0, 50.0, 55.0, 45.0]
    assert metrics.h2_cv(values) == pytest.approx(0.1064794, abs=1e-7)
    assert metrics.h2_cv(values, ddof=1) == pytest.approx(0.1229519, abs=1e-7)
    assert metrics.h2_cv(np.array(values) / 100) == pytest.approx(metrics.h2_cv(values))
    assert metrics.h2_cv([0.5] * 4) == 0
    assert metrics.h2_cv([]) is None
    assert metrics.h2_cv([0.5], ddof=1) is None
    assert metrics.h2_cv([0.0, 0.0]) is None


# --- brute force -----------------------------------------------------------------------------


@given(runs())
def test_auroc_counts_pairs(run: Any) -> None:
    scores, _, known = run
    pairs = [
        1.0 if k > u else 0.5 if k == u else 0.0 for k, u in product(scores[known], scores[~known])
    ]
    assert metrics.auroc(scores, known) == pytest.approx(np.mean(pairs), abs=1e-12)


@given(runs())
def test_oscr_is_the_area_under_all_thresholds(run: Any) -> None:
    scores, correct, known = run
    area, before = 0.0, (0.0, 0.0)
    for threshold in sorted(set(scores), reverse=True):
        accepted = scores >= threshold
        ccr = np.sum(accepted & correct & known) / known.sum()
        fpr = np.sum(accepted & ~known) / (~known).sum()
        area += (fpr - before[0]) * (ccr + before[1]) / 2
        before = (fpr, ccr)
    value = metrics.oscr(scores, correct, known)
    assert value == pytest.approx(area, abs=1e-12)
    assert value is not None and -1e-12 <= value <= np.mean(correct[known]) + 1e-12


@given(runs())
def test_fpr95_is_the_lowest_rate_that_keeps_the_known(run: Any) -> None:
    scores, _, known = run
    rates = [np.mean(scores[~known] >= t) for t in scores if np.mean(scores[known] >= t) >= 0.95]
    assert metrics.fpr95(scores, known) == pytest.approx(min(rates))


@given(runs(), st.floats(-1, 9))
def test_the_best_h_score_is_reached_and_never_beaten(run: Any, threshold: float) -> None:
    scores, correct, known = run
    every = [metrics.deployed_h_score(scores, correct, known, t) for t in scores]
    best = metrics.best_h_score(scores, correct, known)
    assert best == pytest.approx(max(h for h in every if h is not None))
    deployed = metrics.deployed_h_score(scores, correct, known, threshold)
    assert deployed is not None and best is not None and deployed <= best + 1e-12


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 30))
def test_seed_grid_is_the_protocol_image_by_image(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), size=n).astype(np.float32)
    labels = rng.integers(-1, classes, size=n)
    grid = metrics.seed_grid_h_scores(probabilities, labels, classes)
    unknown = int((labels == -1).sum())
    if unknown in (0, n):
        assert grid is None
        return
    assert grid is not None and grid.shape == (10,)
    for theta, value in zip(
        np.linspace(probabilities.min(), probabilities.max(), 10), grid, strict=True
    ):
        answers = [-1 if max(row) < theta else int(np.argmax(row)) for row in probabilities]
        hits = [a == y for a, y in zip(answers, labels, strict=True)]
        a_k = sum(h for h, y in zip(hits, labels, strict=True) if y >= 0) / (n - unknown)
        a_u = sum(h for h, y in zip(hits, labels, strict=True) if y < 0) / unknown
        assert value == pytest.approx(2 * a_k * a_u / (a_k + a_u) if a_k + a_u else 0.0)


# --- invariances -----------------------------------------------------------------------------


def _all(scores: np.ndarray, correct: np.ndarray, known: np.ndarray) -> list[float | None]:
    return [
        metrics.auroc(scores, known),
        metrics.fpr95(scores, known),
        metrics.oscr(scores, correct, known),
        metrics.best_h_score(scores, correct, known),
    ]


@given(runs())
def test_a_monotone_transform_of_the_score_changes_nothing(run: Any) -> None:
    scores, correct, known = run
    assert _all(np.exp(scores) * 3 - 2, correct, known) == pytest.approx(
        _all(scores, correct, known)
    )


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(run: Any, random: Any) -> None:
    order = np.array(random.sample(range(len(run[0])), len(run[0])))
    assert _all(*(array[order] for array in run)) == pytest.approx(_all(*run))


# --- edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [np.ones(3, bool), np.zeros(3, bool), np.zeros(0, bool)])
def test_a_target_without_known_or_without_unknown(known: np.ndarray) -> None:
    scores, correct = np.arange(float(len(known))), known.copy()
    assert _all(scores, correct, known) == [None] * 4
    assert metrics.deployed_h_score(scores, correct, known, 0.5) is None
    assert (metrics.known_keep_rate(scores, known, 0.5) is None) == (not known.any())
    assert (metrics.unknown_reject_rate(scores, known, 0.5) is None) == (known.all())


def test_h_score_of_nothing_right_and_nothing_rejected_is_zero() -> None:
    none, some = np.zeros(3, bool), np.ones(2, bool)
    assert metrics.h_score(none, np.ones(3, bool), some) == 0.0


def test_the_threshold_itself_is_accepted() -> None:
    scores, known = np.array([0.5, 0.5]), np.array([True, False])
    assert metrics.known_keep_rate(scores, known, 0.5) == 1.0
    assert metrics.unknown_reject_rate(scores, known, 0.5) == 0.0
    assert metrics.unknown_reject_rate(scores, known, np.nextafter(0.5, 1)) == 1.0


def test_equal_scores_give_chance() -> None:
    scores, known = np.ones(10), np.arange(10) < 5
    assert metrics.auroc(scores, known) == 0.5
    assert metrics.fpr95(scores, known) == 1.0
    assert metrics.oscr(scores, known, known) == 0.5


def test_risk_coverage_steps_over_ties() -> None:
    curve = metrics.risk_coverage(
        np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False])
    )
    np.testing.assert_allclose(curve.threshold, [3, 2, 1])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 0.5])
    assert metrics.risk_coverage(np.zeros(0), np.zeros(0, bool)).risk.shape == (0,)


def test_confusion_puts_unknown_last() -> None:
    table = metrics.confusion(
        predictions=np.array([0, 1, 1, 0, 1]),
        labels=np.array([0, 0, 1, -1, -1]),
        accepted=np.array([True, True, False, False, True]),
        n_known=2,
    )
    np.testing.assert_array_equal(table, [[1, 1, 0], [0, 0, 1], [0, 1, 1]])
    empty = np.zeros(0, np.int64)
    assert metrics.confusion(empty, empty, empty.astype(bool), 2).sum() == 0


def test_per_class_rows() -> None:
    rows = metrics.per_class(
        predictions=np.array([0, 1, 0, 0]),
        labels=np.array([0, 0, 0, -1]),
        accepted=np.array([True, True, False, True]),
        names=["dog", "cat"],
    )
    assert rows[0] == {
        "class": "dog",
        "images": 3,
        "accuracy": pytest.approx(2 / 3),
        "accepted": pytest.approx(2 / 3),
        "deployed_accuracy": pytest.approx(1 / 3),
    }
    assert rows[1]["images"] == 0 and rows[1]["accuracy"] is None


# --- thirds of the classes -------------------------------------------------------------------


def test_thirds_of_the_classes_by_their_training_images() -> None:
    names, training = ("a", "b", "c", "d"), np.array([5, 30, 5, 20])
    labels = np.array([0, 0, 1, 2, 3, -1, -1])
    predictions = np.array([0, 1, 1, 2, 0, 1, 1])
    scores = np.array([4.0, 1.0, 5.0, 0.5, 3.0, 2.0, 0.0])
    major, middle, minor = metrics.class_thirds(predictions, scores, labels, training, names)
    # Of equal counts the lower label comes first; the first third takes the class that is over.
    assert [row["classes"] for row in (major, middle, minor)] == [["b", "d"], ["a"], ["c"]]
    assert [row["training_images"] for row in (major, middle, minor)] == [50, 5, 5]
    assert [row["images"] for row in (major, middle, minor)] == [2, 2, 1]
    assert [row["accuracy"] for row in (major, middle, minor)] == [0.5, 0.5, 1.0]
    # Pairs of a known and an unknown image with the known one ahead: 4 of 4, 3 of 4, 1 of 2.
    assert [row["auroc"] for row in (major, middle, minor)] == [1.0, 0.75, 0.5]


def test_thirds_need_three_classes_and_may_lack_images() -> None:
    nothing = np.zeros(0, np.int64)
    assert metrics.class_thirds(nothing, nothing, nothing, np.array([1, 2]), ("a", "b")) == []
    rows = metrics.class_thirds(nothing, nothing, nothing, np.array([1, 2, 3]), ("a", "b", "c"))
    assert [(row["accuracy"], row["auroc"]) for row in rows] == [(None, None)] * 3
