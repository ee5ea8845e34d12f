"""Intervals and paired tests: the resampler is the point metrics on the drawn images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from edgedistill.bench.bootstrap import (
    Paired,
    Scored,
    _draws,
    difference,
    exact_tests,
    interval,
    mcnemar,
    resample,
)
from edgedistill.bench.result import QUALITY_METRICS
from edgedistill.export.measure import measure_answers
from edgedistill.export.session import ModelOutputs


def made(seed: int, known: int, unknown: int, grid: int, classes: int = 4) -> tuple:
    """Answers, labels and threshold; scores on a coarse grid have many ties."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.integers(classes, size=known), np.full(unknown, -1)])
    probabilities = rng.dirichlet(np.ones(classes), known + unknown)
    probabilities = (np.round(probabilities * grid) + 1) / (grid + classes)
    score = np.round(probabilities.max(axis=1) * grid + (labels >= 0)) / grid
    label = probabilities.argmax(axis=1)
    return ModelOutputs(label, score, probabilities), labels, float(np.median(score))


def scored(answers: ModelOutputs, labels: np.ndarray, threshold: float) -> Scored:
    return Scored(
        known=labels >= 0,
        correct=answers.label == labels,
        score=answers.score,
        lowest=answers.probabilities.min(axis=1),
        highest=answers.probabilities.max(axis=1),
        threshold=threshold,
    )


CASES = st.tuples(
    st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 25), st.sampled_from([3, 10, 1000])
)


@settings(max_examples=25)
@given(CASES)
def test_a_resample_has_the_metrics_of_the_images_it_drew(case: tuple) -> None:
    answers, labels, threshold = made(*case)
    metrics = resample([scored(answers, labels, threshold)], resamples=3, seed=case[0])[0]
    assert set(metrics) == set(QUALITY_METRICS)
    counts = np.concatenate(list(_draws(labels >= 0, 3, case[0])))
    assert (counts[:, labels >= 0].sum(axis=1) == (labels >= 0).sum()).all()
    assert (counts[:, labels < 0].sum(axis=1) == (labels < 0).sum()).all()
    for number, count in enumerate(counts):
        rows = np.repeat(np.arange(len(labels)), count)
        drawn = ModelOutputs(answers.label[rows], answers.score[rows], answers.probabilities[rows])
        expected = measure_answers(drawn, labels[rows], threshold)
        for metric in QUALITY_METRICS:
            assert metrics[metric][number] == pytest.approx(expected[metric], abs=1e-12), metric


@settings(max_examples=25)
@given(CASES)
def test_an_interval_holds_its_figure(case: tuple) -> None:
    answers, labels, threshold = made(*case)
    values = measure_answers(answers, labels, threshold)
    draws = resample([scored(answers, labels, threshold)], resamples=40)[0]
    for metric in QUALITY_METRICS:
        bounds = interval(values[metric], draws[metric], smaller=min(case[1], case[2]))
        assert 0 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1
        assert bounds["low"] < bounds["high"]
        assert bounds["value"] == values[metric]


@settings(max_examples=25)
@given(CASES)
def test_a_model_does_not_differ_from_itself(case: tuple) -> None:
    model = scored(*made(*case))
    one, two = resample([model, model], resamples=20)
    exact = exact_tests(model, model)
    for metric in QUALITY_METRICS:
        bounds = difference(0.0, one[metric] - two[metric], exact.get(metric))
        assert (bounds["value"], bounds["p"]) == (0, 1)
        assert bounds["low"] == -bounds["high"]
        # That no image showed a difference is no proof that none would.
        assert (bounds["high"] > 0) == (metric in exact)


def test_blocks_cover_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    known = np.arange(30) < 12
    whole = np.concatenate(list(_draws(known, 50, 3)))
    assert whole.shape == (50, 30)
    assert (np.concatenate(list(_draws(known, 50, 3))) == whole).all()
    monkeypatch.setattr("edgedistill.bench.bootstrap._BLOCK", 7 * 30)
    parts = list(_draws(known, 50, 3))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert (np.concatenate(parts)[:, known].sum(axis=1) == 12).all()


def test_missing_kinds_of_images() -> None:
    answers, labels, threshold = made(1, 9, 0, 10)
    assert set(resample([scored(answers, labels, threshold)], 5)[0]) == {
        "accuracy",
        "known_acceptance",
    }
    answers, labels, threshold = made(1, 0, 9, 10)
    model = scored(answers, labels, threshold)
    assert set(resample([model], 5)[0]) == {"unknown_rejection"}
    assert set(exact_tests(model, model)) == {"unknown_rejection"}
    assert interval(None, None) == {"value": None, "low": None, "high": None}
    assert difference(None, None)["p"] is None


def test_the_interval_of_a_share_is_scipys() -> None:
    right = np.random.default_rng(4).random(400) < 0.7
    ones = np.ones(400)
    model = Scored(ones > 0, right, ones, ones, ones, 0.5)
    ours = interval(float(right.mean()), resample([model], 4000)[0]["accuracy"])
    theirs = bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    # Two independent draws of 4,000: the ends lie within an image or two of each other.
    assert ours["low"] == pytest.approx(theirs.low, abs=2.5 / 400)
    assert ours["high"] == pytest.approx(theirs.high, abs=2.5 / 400)


def test_a_share_of_all_images_is_not_certain() -> None:
    ones = np.ones(500)
    bounds = interval(1.0, ones, 20)
    # So rare that 20 right ones in a row have a chance of 2.5 %.
    assert bounds["low"] == pytest.approx(0.025 ** (1 / 20)) and bounds["high"] == 1
    assert interval(0.0, 0 * ones, 20)["high"] == pytest.approx(1 - 0.025 ** (1 / 20))
    assert interval(1.0, ones) == {"value": 1, "low": 1, "high": 1}


def test_few_images_or_equal_resamples_widen_an_interval_to_a_shares() -> None:
    ones = np.ones(500)
    # Three known and three unknown images, all in order: chance does that with 2.5 % at 0.29.
    assert interval(1.0, ones, smaller=3)["low"] == pytest.approx(0.025 ** (1 / 3))
    assert interval(1.0, ones, smaller=200)["low"] == pytest.approx(0.025 ** (1 / 200))
    spread = np.linspace(0.7, 0.9, 501)
    assert interval(0.8, spread, smaller=200) == interval(0.8, spread)
    wider = interval(0.8, spread, smaller=10)
    share = interval(0.8, spread, images=10)
    assert (wider["low"], wider["high"]) == (share["low"], share["high"])


def test_an_auroc_of_few_images_is_held_by_its_interval_as_often_as_said() -> None:
    """Scores normal(1, 1) against normal(0, 1): the AUROC is Phi(1 / sqrt 2) = 0.760."""
    rng, truth, held = np.random.default_rng(0), float(norm.cdf(0.5**0.5)), 0
    known, some = np.arange(16) < 8, np.zeros(16)
    for _ in range(200):
        score = rng.normal(size=16) + known
        model = Scored(known, known, score, some, some, 0.5)
        figure = float(np.mean(score[known][:, None] > score[~known]))
        bounds = interval(figure, resample([model], 200)[0]["auroc"], smaller=8)
        held += bounds["low"] <= truth <= bounds["high"]
    assert held >= 190


@pytest.mark.parametrize("images", [1, 7, 50, 203])
def test_more_right_images_raise_both_ends_of_a_share(images: int) -> None:
    intervals = []
    for right in range(images + 1):
        model = Scored(*(np.arange(images) < n for n in (images, right)), *[np.ones(images)] * 3, 1)
        draws = resample([model], 200)[0]["accuracy"]
        intervals.append(interval(right / images, draws, images))
    for fewer, more in pairwise(intervals):
        assert fewer["low"] < more["low"] and fewer["high"] < more["high"]
    assert all(each["low"] <= each["value"] <= each["high"] for each in intervals)


def test_mcnemar_counts_the_images_that_one_model_alone_gets_right() -> None:
    baseline = np.array([True] * 10 + [False] * 10)
    model = baseline.copy()
    assert mcnemar(model, baseline).p == 1
    model[10:16] = True
    # Six coins, all on one side: 2 / 2**6.
    assert mcnemar(model, baseline).p == pytest.approx(2 / 64)
    assert mcnemar(baseline, model).p == pytest.approx(2 / 64)
    model[0] = False
    # One of seven or fewer, both sides: 2 * (1 + 7) / 2**7.
    assert mcnemar(model, baseline).p == pytest.approx(16 / 128)


@pytest.mark.parametrize("images", [12, 100])
def test_a_share_differs_from_another_where_mcnemar_says_so(images: int) -> None:
    """The interval of the difference leaves out 0 only where p is below 0.05."""
    for gained in range(8):
        for lost in range(5):
            baseline = np.arange(images) < lost
            model = (np.arange(images) >= lost) & (np.arange(images) < lost + gained)
            test = mcnemar(model, baseline)
            assert (test.low > 0) == (gained > lost and test.p < 0.05)
            assert (test.high < 0) == (lost > gained and test.p < 0.05)
            assert test.low <= (gained - lost) / images <= test.high
            other = mcnemar(baseline, model)
            assert (other.low, other.high) == pytest.approx((-test.high, -test.low))


def test_a_difference_holds_the_ends_of_its_exact_test() -> None:
    # Five of a hundred images lost, none gained: no resample gains one, and p is 0.06.
    baseline, model = np.ones(100, bool), np.arange(100) >= 5
    ones = np.ones(100)
    one, two = resample([Scored(ones > 0, m, ones, ones, ones, 0) for m in (model, baseline)])
    exact = mcnemar(model, baseline)
    bounds = difference(-0.05, one["accuracy"] - two["accuracy"], exact)
    assert bounds["p"] == pytest.approx(2 / 2**5)
    assert bounds["low"] < -0.08 and bounds["high"] > 0


def test_p_is_the_share_of_resamples_across_zero() -> None:
    samples = np.concatenate([np.full(190, 0.2), np.full(9, -0.1)])
    assert difference(0.15, samples)["p"] == pytest.approx(2 * 10 / 200)
    assert difference(0.15, samples, Paired(0.5, 0.0, 0.0))["p"] == 0.5
    assert difference(0.2, np.full(199, 0.2))["p"] == pytest.approx(2 / 200)
    # A figure outside of its resamples' percentiles widens the interval.
    assert difference(0.3, np.full(199, 0.2))["high"] == 0.3
