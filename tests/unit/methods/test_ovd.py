"""The losses of open-vocabulary distillation, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.methods import METHODS, StudentOutput, TeacherOutputs
from edgedistill.methods.reliability import Reliability
from edgedistill.methods.text_bank import TextBank

SCALE = 2.0
# Student at right angles to the teacher, 60 degrees off it, and equal to it.
IMAGE = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
PROJECTED = torch.tensor([[0.0, 1.0], [0.5, math.sqrt(0.75)], [0.0, 1.0]])
DISTANCES = (1.0, 0.5, 0.0)


def bank(scale: float = SCALE) -> TextBank:
    texts = torch.eye(2)
    return TextBank(texts, torch.arange(2), texts, "mean", scale)


def losses(
    labels: list[int], measured: Reliability | None, /, **hyper: Any
) -> tuple[dict[str, float], Tensor]:
    """The losses of the three rows, and the gradient of the loss at the projections."""
    kind: Any = METHODS["ovd"]
    method = kind(kind.Hyper(**hyper), text=bank())
    projected = PROJECTED.clone().requires_grad_()
    out = StudentOutput(torch.zeros(3, 4), SCALE * projected, projected)
    teacher = TeacherOutputs(IMAGE, bank(), measured)
    values = method.losses(None, out, torch.tensor(labels), teacher)
    values["loss"].backward()
    assert projected.grad is not None
    return {name: float(value.detach()) for name, value in values.items()}, projected.grad


def hard(logit: float, other: float) -> float:
    return math.log(1 + math.exp(other - logit))


def test_the_loss_is_cross_entropy_and_the_weighted_distance() -> None:
    values, _ = losses([0, 1, 1], Reliability(1.5, torch.tensor([1.5, 1.5])), weight=0.5)
    entropy = (hard(0, 2) + hard(math.sqrt(3), 1) + hard(2, 0)) / 3
    assert values["cross_entropy"] == pytest.approx(entropy)
    assert values["embedding"] == pytest.approx(0.5)
    assert values["loss"] == pytest.approx(entropy + 0.5 * 1.5 * 0.5)


def test_a_row_without_a_label_has_the_distance_alone() -> None:
    values, gradient = losses([0, -1, -1], Reliability(1.5, torch.zeros(2)))
    assert values["cross_entropy"] == pytest.approx(hard(0, 2))
    assert values["loss"] == pytest.approx(hard(0, 2) + 1.5 * 0.5)
    # Of the cosine alone: weight / rows times the part of the image across the projection.
    across = IMAGE[1] - 0.5 * PROJECTED[1]
    torch.testing.assert_close(gradient[1], -1.5 / 3 * across)
    torch.testing.assert_close(gradient[2], torch.zeros(2), atol=1e-6, rtol=0)


def test_labelled_rows_may_weigh_as_their_class() -> None:
    reliability = Reliability(1.5, torch.tensor([0.25, 1.0]))
    values, _ = losses([0, 1, -1], reliability, reliability="class")
    distance = (0.25 * DISTANCES[0] + 1.0 * DISTANCES[1] + 1.5 * DISTANCES[2]) / 3
    entropy = (hard(0, 2) + hard(math.sqrt(3), 1)) / 2
    assert values["loss"] == pytest.approx(entropy + distance)


def test_a_teacher_without_knowledge_leaves_cross_entropy_alone() -> None:
    values, gradient = losses([0, 1, -1], Reliability(0.0, torch.zeros(2)))
    assert values["loss"] == pytest.approx(values["cross_entropy"])
    assert gradient[2].abs().sum() == 0


def test_without_a_measurement_the_odds_are_even() -> None:
    values, _ = losses([0, 1, 1], None, reliability="class")
    assert values["loss"] == pytest.approx(values["cross_entropy"] + 0.5)


def test_the_teacher_weighs_no_more_than_the_logit_scale() -> None:
    values, _ = losses([0, 1, 1], Reliability(1000.0, torch.zeros(2)))
    assert values["loss"] == pytest.approx(values["cross_entropy"] + SCALE * 0.5)


def test_further_terms_follow_the_weight_of_the_teacher() -> None:
    values, _ = losses(
        [0, 1, -1], Reliability(1.5, torch.ones(2)), kd_weight=0.5, contrast_weight=0.25
    )
    teacher = F.softmax(SCALE * IMAGE, dim=1)
    divergence = (teacher * (teacher / F.softmax(SCALE * PROJECTED, dim=1)).log()).sum() / 3
    among = F.softmax(SCALE * IMAGE @ IMAGE.T, dim=1)
    contrast = (among * (among / F.softmax(SCALE * PROJECTED @ IMAGE.T, dim=1)).log()).sum() / 3
    assert values["distillation"] == pytest.approx(float(divergence), rel=1e-5)
    assert values["contrast"] == pytest.approx(float(contrast), rel=1e-5)
    expected = values["cross_entropy"] + 1.5 * (0.5 + 0.5 * divergence + 0.25 * contrast)
    assert values["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_projector_starts_where_the_start_weights_end() -> None:
    kind: Any = METHODS["ovd"]
    method = kind(kind.Hyper(), text=bank())
    projection = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    head = method.head(3, 2, projection)
    features = torch.tensor([[1.0, 0.0, -1.0]])
    expected = F.normalize(features @ projection.T, dim=1)
    out = head(features)
    torch.testing.assert_close(out.projected, expected)
    torch.testing.assert_close(out.logits, SCALE * expected)
    assert method.head(3, 2).projector.weight.shape == projection.shape


def test_the_weight_is_said_in_one_line() -> None:
    kind: Any = METHODS["ovd"]
    reliability = Reliability(1.23456, torch.tensor([0.5, 7.0]))
    line = kind(kind.Hyper(weight=0.5), text=bank()).describe_reliability(reliability)
    assert "0.617" in line
    line = kind(kind.Hyper(reliability="class"), text=bank()).describe_reliability(reliability)
    assert "0.5 to 2" in line
