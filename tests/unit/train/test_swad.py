"""SWAD's average: where it starts and ends, and what it is the mean of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from culprits import raises
from torch import nn

from edgedistill.errors import TrainingError
from edgedistill.recipe.schema import TrainSection
from edgedistill.train.swad import DenseAverage


def module(value: float) -> nn.Module:
    student = nn.BatchNorm1d(1)
    with torch.no_grad():
        student.weight.fill_(value)
        student.num_batches_tracked.fill_(int(value))
    return student


def dense(**settings: float) -> DenseAverage:
    chosen = {"start": 3, "end": 2, "tolerance": 1.5, **settings}
    return DenseAverage(
        module(0), start=int(chosen["start"]), end=int(chosen["end"]), tolerance=chosen["tolerance"]
    )


def run(average: DenseAverage, losses: Sequence[float], first: int = 1) -> float:
    """The weight that ships where step n has weight n, with two steps to a validation."""
    step = first
    for loss in losses:
        for _ in range(2):
            average.update(module(step))
            step += 1
        average.close(loss)
    shipped = module(-1)
    average.copy_to(shipped)
    return float(shipped.weight.detach())


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        # No start yet: since the last validation but one.
        ([3.0], (1, 2)),
        ([3.0, 2.0, 1.0], (5, 6)),
        # Validation 2 is the best of 2, 3 and 4: from its own steps on.
        ([3.0, 1.0, 1.1, 1.2], (3, 8)),
        # The limit is 1.5 times 1.1, so 1.7 and 1.8 are overfit, and what follows them too.
        ([3.0, 1.0, 1.1, 1.2, 1.7], (3, 10)),
        ([3.0, 1.0, 1.1, 1.2, 1.7, 1.8], (3, 8)),
        ([3.0, 1.0, 1.1, 1.2, 1.7, 1.8, 1.0], (3, 8)),
        # One of them alone is not.
        ([3.0, 1.0, 1.1, 1.2, 1.7, 1.6, 1.7], (3, 14)),
    ],
)
def test_the_mean_from_the_start_to_the_end(
    losses: Sequence[float], steps: tuple[int, int]
) -> None:
    first, last = steps
    assert run(dense(), losses) == pytest.approx((first + last) / 2)


def test_resuming_continues_the_same_average() -> None:
    losses = [3.0, 1.0, 1.1, 1.2, 1.7, 1.6, 1.3]
    for cut in range(len(losses)):
        average, resumed = dense(), dense()
        run(average, losses[:cut]) if cut else None
        average.update(module(2 * cut + 1))
        state = average.state_dict()
        average.update(module(99))
        resumed.load_state_dict(state)
        resumed.update(module(2 * cut + 2))
        resumed.close(losses[cut])
        rest = losses[cut + 1 :]
        assert run(resumed, rest, 2 * cut + 3) == run(dense(), losses)


def test_the_module_is_never_written() -> None:
    average, student = dense(), module(5)
    average.update(student)
    average.close(1.0)
    assert float(student.weight.detach()) == 5


def test_a_foreign_state_is_refused() -> None:
    other = DenseAverage(nn.Linear(2, 2), start=3, end=2, tolerance=1.5)
    with raises(TrainingError, "checkpoint"):
        dense().load_state_dict(other.state_dict())


def test_a_run_too_short_to_find_its_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"swad_start is 3.*2 validations"):
        TrainSection(average="swad", steps=100, eval_every=50)
