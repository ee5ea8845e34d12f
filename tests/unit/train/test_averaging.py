"""Running averages of weights."""

from __future__ import annotations

import io

import pytest
import torch
from culprits import raises
from torch import Tensor, nn

from edgedistill.errors import TrainingError
from edgedistill.train.averaging import WeightAverage, unique_tensors


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.register_buffer("statistic", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))

    count: Tensor
    statistic: Tensor

    def set(self, n: float) -> None:
        with torch.no_grad():
            self.theta.fill_(n)
            self.statistic.fill_(-n)
            self.count.fill_(int(n))


def value(average: WeightAverage) -> tuple[float, float, int]:
    into = Scalar()
    average.copy_to(into)
    return float(into.theta.detach()), float(into.statistic), int(into.count)


def test_simple_average_from_step_300() -> None:
    module = Scalar()
    average = WeightAverage(module, "sma")
    expected = {298: 298.0, 299: 299.0, 300: 299.5, 301: 300.0, 302: 300.5, 1000: 649.5}
    for n in range(1, 1001):
        module.set(n)
        average.update(module)
        if n in expected:
            theta, statistic, count = value(average)
            assert theta == pytest.approx(expected[n], abs=1e-9)
            assert theta == pytest.approx((299 + n) / 2 if n >= 299 else n, abs=1e-9)
            assert statistic == pytest.approx(-theta)
            assert count == n


def test_simple_average_can_start_at_once() -> None:
    module = Scalar()
    module.set(4)
    average = WeightAverage(module, "sma", start=1)
    for n in (5, 9):
        module.set(n)
        average.update(module)
    assert value(average)[0] == pytest.approx((4 + 5 + 9) / 3)


def test_exponential_average() -> None:
    module = Scalar()
    average = WeightAverage(module, "ema", decay=0.25)
    expected = 0.0
    for n in range(1, 8):
        module.set(n)
        average.update(module)
        d = min(0.25, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * n
        assert value(average)[0] == pytest.approx(expected)


def test_a_short_run_forgets_its_first_weights() -> None:
    module = Scalar()
    module.set(1)
    average = WeightAverage(module, "ema", decay=0.9999)
    for _ in range(100):
        module.set(0)
        average.update(module)
    assert value(average)[0] < 1e-3


def test_the_module_is_never_written() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {k: t.clone() for k, t in module.state_dict().items()}
    average = WeightAverage(module, "ema", decay=0.5)
    average.update(module)
    assert all(torch.equal(t, before[k]) for k, t in module.state_dict().items())


def test_a_shared_tensor_is_averaged_once() -> None:
    linear = nn.Linear(2, 2, bias=False)
    module = nn.Sequential(linear, nn.Sequential(linear))
    assert list(unique_tensors(module)) == ["0.weight"]
    average = WeightAverage(module, "ema", decay=0.15)
    start = linear.weight.detach().clone()
    with torch.no_grad():
        linear.weight.add_(1.0)
    average.update(module)
    average.copy_to(module)
    torch.testing.assert_close(linear.weight.detach(), start + 0.85)


def test_resuming_continues_the_same_average() -> None:
    whole, cut = Scalar(), Scalar()
    one, two = (WeightAverage(m, "sma", start=3) for m in (whole, cut))
    for n in range(1, 10):
        whole.set(n)
        one.update(whole)
        cut.set(n)
        two.update(cut)
        if n == 5:
            buffer = io.BytesIO()
            torch.save(two.state_dict(), buffer)
            buffer.seek(0)
            two = WeightAverage(Scalar(), "sma", start=3)
            two.load_state_dict(torch.load(buffer, weights_only=True))
    assert value(one) == value(two)


def test_a_saved_state_is_a_snapshot() -> None:
    module = Scalar()
    average = WeightAverage(module, "ema", decay=0.1)
    saved = average.state_dict()
    module.set(10)
    average.update(module)
    assert float(saved["tensors"]["theta"]) == 0.0


def test_a_foreign_state_is_refused_in_one_line() -> None:
    average = WeightAverage(nn.Linear(2, 2), "ema")
    for other, name in (
        (nn.Linear(3, 2), "weight"),
        (nn.Linear(2, 2, bias=False), "bias"),
        (Scalar(), "weight"),
    ):
        with raises(TrainingError, "averaged weights", f"'{name}'"):
            average.load_state_dict(WeightAverage(other, "ema").state_dict())


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": -0.1}, {"start": 0}])
def test_impossible_settings(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        WeightAverage(nn.Linear(1, 1), "sma", **arguments)  # type: ignore[arg-type]
