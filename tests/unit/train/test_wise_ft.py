"""Weights between the start and the end of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from edgedistill.students import Student
from edgedistill.train.context import TrainContext
from edgedistill.train.wise_ft import (
    SHARES,
    interpolate_weights,
    ship_interpolated,
    snapshot,
)


@pytest.fixture
def student() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def filled(module: nn.Module, value: int) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in snapshot(module).items()}


def test_a_quarter_of_the_way_is_a_quarter_of_every_floating_tensor(student: nn.Module) -> None:
    interpolate_weights(student, filled(student, 2), filled(student, 6), 0.25)
    state = student.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"):
        assert (state[name] == 3).all(), name
    assert state["1.num_batches_tracked"] == 6


def test_the_whole_way_is_the_trained_weights_to_the_bit(student: nn.Module) -> None:
    trained = {
        name: tensor + 0.1 if tensor.is_floating_point() else tensor
        for name, tensor in snapshot(student).items()
    }
    interpolate_weights(student, filled(student, 1000), trained, 1.0)
    assert all(torch.equal(trained[name], tensor) for name, tensor in snapshot(student).items())


def test_a_snapshot_shares_no_memory(student: nn.Module) -> None:
    before = snapshot(student)
    interpolate_weights(student, before, filled(student, 6), 1.0)
    assert not torch.equal(before["0.weight"], snapshot(student)["0.weight"])


@dataclass
class Nearness:
    """A validator whose figure is best where the head's weights are at `best`, or beyond."""

    best: float
    error: float = 0.0
    figure: str = "val_accuracy"

    def __call__(self, context: TrainContext, student: Student) -> Mapping[str, float]:
        at = float(next(student.head.parameters()).detach().mean())
        return {self.figure: round(min(at, self.best), 4)}

    def standard_error(self, value: float) -> float:
        return self.error


def shipped(
    context: TrainContext, share: float | str, best: float, error: float = 0.0
) -> tuple[float, float]:
    """The share that ships on the way from 0 to 1, and the mean of the weights that do."""
    head = context.student.head
    start = snapshot(context.student) | filled(context.student, 0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(1)
    context = replace(context, validator=Nearness(best, error))
    result = ship_interpolated(context, start, share)  # type: ignore[arg-type]
    return result.share, float(next(head.parameters()).detach().mean())


def test_validation_chooses_the_smallest_of_the_best_shares(tiny_context: Any) -> None:
    assert shipped(tiny_context(), "validation", best=0.4) == pytest.approx((0.4, 0.4))
    assert shipped(tiny_context(), "validation", best=2.0) == pytest.approx((1.0, 1.0))


def test_validation_chooses_the_smallest_within_a_standard_error(tiny_context: Any) -> None:
    chosen = shipped(tiny_context(), "validation", best=0.8, error=0.25)
    assert chosen == pytest.approx((0.6, 0.6))


def test_a_given_share_is_not_validated(tiny_context: Any) -> None:
    assert shipped(tiny_context(), 0.3, best=0.8) == pytest.approx((0.3, 0.3))


def test_every_share_that_was_validated_is_reported(tiny_context: Any) -> None:
    context = replace(tiny_context(), validator=Nearness(0.4))
    result = ship_interpolated(context, snapshot(context.student), "validation")
    assert [row["share"] for row in result.as_json()["validated"]] == list(SHARES)
