"""The terms of the pretraining's loss, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.text_bank import TextBank
from edgedistill.pretraining.objective import Objective, ObjectiveHyper

STUDENT = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
TEACHER = torch.tensor([[0.6, 0.8], [0.6, 0.8]])
NOBODY = torch.zeros(2, dtype=torch.int64)


def losses(text: TextBank, **weights: float) -> dict[str, float]:
    objective = Objective(ObjectiveHyper(**weights), text=text)
    out = StudentOutput(torch.zeros(2, 3), STUDENT.new_zeros(2, 0), STUDENT)
    terms = objective.losses(objective.head(3, 0), out, NOBODY, TeacherOutputs(TEACHER, text))
    return {name: float(value) for name, value in terms.items()}


def test_the_distance_is_one_minus_the_mean_cosine() -> None:
    expected = pytest.approx(1 - (0.6 + 1.0) / 2)
    assert losses(TextBank.empty(2)) == {"loss": expected, "cosine_distance": expected}


def test_the_contrast_is_the_entropy_of_finding_ones_own_image() -> None:
    # Both teacher embeddings are the same one: every image is as near to the other's.
    terms = losses(TextBank.empty(2), contrast=0.5, temperature=0.1)
    assert terms["contrast"] == pytest.approx(math.log(2))
    assert terms["loss"] == pytest.approx(0.2 + 0.5 * math.log(2))


def test_the_vocabulary_term_is_the_divergence_of_the_softmax_over_words() -> None:
    words = torch.eye(2)
    text = TextBank(words, torch.arange(2), words, "mean", 2.0)
    terms = losses(text, vocabulary=3.0)

    def softmax(a: float, b: float) -> tuple[float, float]:
        x, y = math.exp(2 * a), math.exp(2 * b)
        return x / (x + y), y / (x + y)

    p, q = softmax(0.6, 0.8), softmax(1.0, 0.0)
    # The second image's embeddings agree.
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    assert terms["vocabulary"] == pytest.approx(divergence, rel=1e-5)
    assert terms["loss"] == pytest.approx(0.2 + 3 * divergence, rel=1e-5)


def test_a_projection_of_start_weights_begins_the_head() -> None:
    projection = torch.randn(2, 3)
    objective = Objective(ObjectiveHyper(), text=TextBank.empty(2))
    assert torch.equal(objective.head(3, 0, projection).projector.weight, projection)
