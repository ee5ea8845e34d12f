"""Computations of the scripts about the embedded weights and about bench's intervals."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
import torch

from benchmarks import interval_coverage
from benchmarks.weights import average, start_quality
from edgedistill.methods.text_bank import TextBank


def test_zero_shot_worth_by_hand() -> None:
    axes = torch.eye(3)
    bank = TextBank(axes[:2], torch.tensor([0, 1]), axes[:2], "mean", 1.0)
    # Three known drawings, the last one named wrong; one unknown far from both texts, one near.
    rows = torch.stack([axes[0], axes[1], axes[0], axes[2], 0.9 * axes[0]])
    rates = start_quality.worth(lambda x: x, bank, rows, np.array([0, 1, 1, -1, -1]))
    assert rates == "66.7 100.0"
    rows[4] = 2 * axes[0]
    rates = start_quality.worth(lambda x: x, bank, rows, np.array([0, 1, 1, -1, -1]))
    assert rates == "66.7 50.0"


def test_weights_are_mixed_in_the_precision_of_the_first() -> None:
    first = {"w": torch.tensor([0.0, 2.0]).half(), "count": torch.tensor(3)}
    second = {"w": torch.tensor([1.0, 4.0]), "count": torch.tensor(5)}
    mixture = average.mixed(first, second, 0.25)
    assert mixture["w"].dtype == torch.float16
    assert mixture["w"].tolist() == [0.25, 2.5] and mixture["count"] == 3


def test_start_weights_without_a_projection_have_no_worth_to_show() -> None:
    with pytest.raises(SystemExit, match="no projection into this teacher's space"):
        start_quality.student("mobilenet_v3_small", "none", "some teacher")


def test_the_drawn_answers_are_what_the_coverage_page_says() -> None:
    answers = interval_coverage.figures(
        *interval_coverage.answers(np.random.default_rng(3), 40_000, 40_000)
    )

    def below(x: float) -> float:
        return (1 + erf(x / 2**0.5)) / 2

    # normal(2, 1) above normal(0, 1): their difference is normal(2, sqrt 2).
    assert answers["auroc"] == pytest.approx(below(2 / 2**0.5), abs=0.005)
    accepted_right, rejected = 0.75 * below(1), below(1)
    expected = 2 * accepted_right * rejected / (accepted_right + rejected)
    assert answers["h_score"] == pytest.approx(expected, abs=0.005)


def test_coverage_is_a_share_of_test_sets() -> None:
    shares = interval_coverage.coverage(30, 30, repeats=4, resamples=20)
    assert set(shares) == set(interval_coverage.FIGURES)
    assert all(share in (0, 0.25, 0.5, 0.75, 1) for share in shares.values())
