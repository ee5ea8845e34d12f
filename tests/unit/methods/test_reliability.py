"""The odds that a teacher is right, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.methods.reliability import measure_reliability


def of(right: list[int], images: list[int]) -> tuple[float, list[float]]:
    reliability = measure_reliability(torch.tensor(right), torch.tensor(images))
    return reliability.overall, reliability.per_class.tolist()


def test_the_odds_of_a_good_teacher() -> None:
    # a = 72 / 80 = 0.9; r = (0.9 - 0.5) / 0.5 = 0.8; odds 4.
    overall, _ = of([36, 35], [39, 39])
    assert overall == pytest.approx(4.0)


@pytest.mark.parametrize("right", [0, 5, 9])
def test_a_teacher_no_better_than_chance_has_none(right: int) -> None:
    assert of([right, 0], [20, 0])[0] == 0.0


def test_a_perfect_teacher_is_as_certain_as_its_images_are_many() -> None:
    # a = 9 / 10 of 8 images, 99 / 100 of 98: odds 4 and 49.
    assert of([4, 4], [4, 4])[0] == pytest.approx(4.0)
    assert of([49, 49], [49, 49])[0] == pytest.approx(49.0)


def test_classes_that_differ_by_chance_alone_share_the_overall_odds() -> None:
    overall, classes = of([9, 9, 9], [12, 12, 12])
    assert classes == pytest.approx([overall] * 3)


def test_classes_that_differ_have_odds_of_their_own() -> None:
    # Between 10, within 0: correlation 1, held at 1/3, so that k = 2 and a_c = (right + 1) / 22.
    _, classes = of([20, 0], [20, 20])
    assert classes == pytest.approx([10.0, 0.0])


def test_the_estimated_prior_draws_a_class_towards_all() -> None:
    # Shares 0.9, 0.5, 0.7 of 20: between 0.8, within 8.4 / 57... = (1.8 + 5 + 4.2) / 57.
    within = (18 * 0.1 + 10 * 0.5 + 14 * 0.3) / 57
    between = 20 * (0.2**2 + 0.2**2) / 2
    correlation = (between - within) / (between + 19 * within)
    prior, mean = (1 - correlation) / correlation, 43 / 62
    _, classes = of([18, 10, 14], [20, 20, 20])
    accuracies = [(right + prior * mean) / (20 + prior) for right in (18, 10, 14)]
    corrected = [(a - 1 / 3) / (2 / 3) for a in accuracies]
    assert classes == pytest.approx([r / (1 - r) for r in corrected])


def test_a_class_without_an_image_has_the_overall_odds() -> None:
    overall, classes = of([20, 10, 0], [20, 20, 0])
    assert classes[2] == pytest.approx(overall)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=8))
def test_odds_are_finite_and_not_negative(pairs: list[tuple[int, int]]) -> None:
    right = [r for r, _ in pairs]
    overall, classes = of(right, [r + wrong for r, wrong in pairs])
    for odds in (overall, *classes):
        assert 0 <= odds < 1000
