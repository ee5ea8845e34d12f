"""Optimisers over parameter groups, and learning-rate schedules."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgedistill.methods import ParamGroup
from edgedistill.train.optim import (
    OptimizerKind,
    Schedule,
    apply_lr_factor,
    build_optimizers,
    lr_factor,
)


def one_parameter(value: float = 1.0) -> tuple[nn.Parameter, list[ParamGroup]]:
    theta = nn.Parameter(torch.tensor([value], dtype=torch.float64))
    return theta, [{"name": "only", "params": [theta], "lr_scale": 1.0}]


def descend(
    *, lr: float, weight_decay: float, count: int, constant: bool, steps: int
) -> list[float]:
    theta, groups = one_parameter()
    optimizers = build_optimizers(
        groups,
        "sgd",
        lr=lr,
        weight_decay=weight_decay,
        momentum=0.9,
        nesterov=True,
        count=count,
    )
    values = []
    for _ in range(steps):
        theta.grad = torch.ones_like(theta) if constant else theta.detach().clone()
        for optimizer in optimizers:
            optimizer.step()
        values.append(float(theta.detach()))
    return values


class TestTwoOptimizers:
    def test_constant_gradient(self) -> None:
        two = descend(lr=0.1, weight_decay=0.0, count=2, constant=True, steps=1)
        one = descend(lr=0.2, weight_decay=0.0, count=1, constant=True, steps=1)
        assert two == pytest.approx([0.62], abs=1e-9)
        assert one == pytest.approx(two, abs=1e-9)

    @pytest.mark.parametrize(
        ("weight_decay", "two", "one"),
        [
            (0.0, [0.81, 0.5751, 0.327321], [0.81, 0.5751, 0.327321]),
            (0.1, [0.79199275, 0.53899897, 0.27773933], [0.791, 0.536581, 0.27376747]),
        ],
    )
    def test_quadratic(self, weight_decay: float, two: list[float], one: list[float]) -> None:
        for lr, count, expected in ((0.05, 2, two), (0.1, 1, one)):
            values = descend(lr=lr, weight_decay=weight_decay, count=count, constant=False, steps=3)
            assert values == pytest.approx(expected, abs=1e-8)


class TestGroups:
    def groups(self) -> list[ParamGroup]:
        def parameter() -> list[nn.Parameter]:
            return [nn.Parameter(torch.ones(2))]

        return [
            {"name": "backbone", "params": parameter(), "lr_scale": 1.0},
            {"name": "head", "params": parameter(), "lr_scale": 5.0},
            {"name": "log_scale", "params": parameter(), "lr": 1e-4},
            {"name": "nothing", "params": [], "lr_scale": 1.0},
        ]

    @pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
    def test_rates_decay_and_schedule(self, kind: OptimizerKind) -> None:
        (optimizer,) = build_optimizers(self.groups(), kind, lr=0.01, weight_decay=0.3)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.01, 0.05, 1e-4])
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3] * 3
        for factor in (0.5, 0.1):
            apply_lr_factor([optimizer], factor)
            rates = [group["lr"] for group in optimizer.param_groups]
            assert rates == pytest.approx([0.01 * factor, 0.05 * factor, 1e-4])

    @pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
    def test_every_kind_descends(self, kind: OptimizerKind) -> None:
        theta, groups = one_parameter()
        (optimizer,) = build_optimizers(groups, kind, lr=0.1)
        for _ in range(3):
            theta.grad = theta.detach().clone()
            optimizer.step()
        assert 0 <= float(theta.detach()) < 0.8

    def test_adams_decay_enters_the_gradient_and_adamws_does_not(self) -> None:
        after = {}
        for kind in ("adam", "adamw"):
            theta, groups = one_parameter(10.0)
            (optimizer,) = build_optimizers(groups, kind, lr=0.1, weight_decay=0.5)
            theta.grad = torch.zeros_like(theta)
            optimizer.step()
            after[kind] = float(theta.detach())
        assert after["adam"] == pytest.approx(10 - 0.1, abs=1e-6)
        assert after["adamw"] == pytest.approx(10 * (1 - 0.1 * 0.5))

    def test_state_resumes(self) -> None:
        theta, groups = one_parameter()
        (optimizer,) = build_optimizers(groups, "sgd", lr=0.1)
        apply_lr_factor([optimizer], 0.1)
        theta.grad = torch.ones_like(theta)
        optimizer.step()
        (again,) = build_optimizers(groups, "sgd", lr=0.1)
        again.load_state_dict(optimizer.state_dict())
        assert again.param_groups[0]["lr"] == pytest.approx(0.01)
        apply_lr_factor([again], 1.0)
        assert again.param_groups[0]["lr"] == pytest.approx(0.1)


class TestSchedules:
    @pytest.mark.parametrize(
        ("double", "expected"),
        [(False, {1.0: 36, 0.1: 10, 0.01: 4}), (True, {1.0: 36, 0.1: 10, 0.001: 4})],
    )
    @pytest.mark.parametrize("per_epoch", [1, 100])
    def test_hdg_over_fifty_epochs(
        self, double: bool, expected: dict[float, int], per_epoch: int
    ) -> None:
        total = 50 * per_epoch
        factors = [lr_factor(s, total, "hdg", double_last_decay=double) for s in range(total)]
        assert Counter(factors) == {k: n * per_epoch for k, n in expected.items()}
        assert factors == sorted(factors, reverse=True)
        assert factors[36 * per_epoch - 1 : 36 * per_epoch + 1] == [1.0, 0.1]
        assert factors[46 * per_epoch - 1 : 46 * per_epoch + 1] == [0.1, min(expected)]

    @pytest.mark.parametrize(
        ("double", "expected"),
        [(True, {1.0: 36, 0.01: 10, 1e-6: 4}), (False, {1.0: 36, 0.01: 10, 1e-4: 4})],
    )
    def test_hdg_of_two_optimizers_with_one_list_of_groups(
        self, double: bool, expected: dict[float, int]
    ) -> None:
        """The rates of the authors' own code over 50 epochs of SCI-PD."""
        factors = [
            lr_factor(s, 5000, "hdg", double_last_decay=double, epoch_steps=100, decays=2)
            for s in range(5000)
        ]
        assert Counter(factors) == {k: n * 100 for k, n in expected.items()}

    @pytest.mark.parametrize(
        ("epochs", "first", "last"), [(50, 36, 46), (90, 63, 82), (100, 71, 91), (120, 85, 109)]
    )
    def test_hdg_decays_after_the_authors_epochs(self, epochs: int, first: int, last: int) -> None:
        total = epochs * 10 - 3  # the last epoch may be short
        factors = [lr_factor(s, total, "hdg", epoch_steps=10) for s in range(total)]
        assert factors.index(0.1) == first * 10
        assert factors.index(0.01) == last * 10

    def test_cosine_ends(self) -> None:
        assert lr_factor(0, 100, "cosine") == 1.0
        assert lr_factor(50, 100, "cosine") == pytest.approx(0.5)
        assert lr_factor(100, 100, "cosine") == pytest.approx(0.0, abs=1e-12)
        assert lr_factor(150, 100, "cosine") == pytest.approx(0.0, abs=1e-12)

    @pytest.mark.parametrize("schedule", ["constant", "cosine", "hdg"])
    def test_warm_up_rises_to_the_full_rate(self, schedule: Schedule) -> None:
        factors = [lr_factor(s, 100, schedule, warmup_steps=4) for s in range(5)]
        assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])

    @given(
        schedule=st.sampled_from(["constant", "cosine", "hdg"]),
        total=st.integers(1, 500),
        warmup=st.integers(0, 500),
        double=st.booleans(),
        epoch_steps=st.none() | st.integers(1, 60),
        decays=st.integers(1, 2),
    )
    def test_in_range_and_falling_after_the_warm_up(
        self,
        schedule: Schedule,
        total: int,
        warmup: int,
        double: bool,
        epoch_steps: int | None,
        decays: int,
    ) -> None:
        factors = [
            lr_factor(
                s,
                total,
                schedule,
                warmup_steps=warmup,
                double_last_decay=double,
                epoch_steps=epoch_steps,
                decays=decays,
            )
            for s in range(total)
        ]
        assert all(0 <= f <= 1 for f in factors)
        after = factors[warmup:]
        assert after == sorted(after, reverse=True)
