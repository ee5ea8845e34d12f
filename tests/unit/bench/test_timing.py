"""Rounds, medians and ratios, on a clock that the tests move."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.bench.timing import (
    FEWEST,
    MOST,
    ROUND_SECONDS,
    WARM_UP,
    CallTimes,
    Load,
    Work,
    measure,
    median_interval,
    rank,
    ratio,
    self_ratio,
    timing,
)


class Machine:
    """Time passes only in what runs on it, `slowness(now)` times as long as on an idle one."""

    def __init__(self, slowness: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.slowness = slowness
        self.log: list[str] = []

    def clock(self) -> float:
        return self.now

    def subject(self, name: str, seconds: float) -> Load:
        def work() -> None:
            self.log.append(name)
            self.now += seconds * self.slowness(self.now)

        def load() -> Work:
            self.log.append(f"load {name}")
            self.now += 0.05
            return work

        return load


def samples(medians: list[float]) -> CallTimes:
    return CallTimes([np.array([value]) for value in medians])


def test_every_round_loads_warms_and_calls_all_in_turn() -> None:
    machine = Machine()
    group = [machine.subject("a", 0.01), machine.subject("b", 0.02)]
    ticks: list[tuple[int, int]] = []
    measured = measure([group], 3, machine.clock, lambda done, total: ticks.append((done, total)))
    loads = [entry[-1] for entry in machine.log if entry.startswith("load")]
    assert [sorted(pair) for pair in zip(loads[::2], loads[1::2], strict=True)] == [["a", "b"]] * 4
    assert ticks == [(done, 8) for done in range(1, 9)]
    calls = [round(ROUND_SECONDS / seconds) for seconds in (0.01, 0.02)]
    for subject, seconds, count in zip(measured[0], (0.01, 0.02), calls, strict=True):
        assert [len(taken) for taken in subject.rounds] == [count] * 3
        np.testing.assert_allclose(subject.medians, [seconds] * 3)
    # The round before the first is not counted, nor are the first calls after each loading.
    assert machine.log.count("a") == 3 * (WARM_UP + calls[0]) + 2 * WARM_UP


def test_no_subject_always_follows_the_same_other_one_and_the_order_repeats() -> None:
    def order() -> list[str]:
        machine = Machine()
        measure([[machine.subject(name, 0.01) for name in "abc"]], 20, machine.clock)
        return [entry[-1] for entry in machine.log if entry.startswith("load")]

    loads = order()
    assert loads == order()
    rounds = [loads[i : i + 3] for i in range(0, len(loads), 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    followed = {pair for names in rounds for pair in pairwise(names)}
    assert followed == set(permutations("abc", 2))
    assert {names[0] for names in rounds} == {"a", "b", "c"}


@pytest.mark.parametrize(("seconds", "calls"), [(1e-6, MOST), (5.0, FEWEST)])
def test_calls_per_round_stay_within_limits(seconds: float, calls: int) -> None:
    machine = Machine()
    (group,) = measure([[machine.subject("a", seconds)]], 2, machine.clock)
    assert [len(taken) for taken in group[0].rounds] == [calls, calls]


def test_groups_are_nested_as_they_came() -> None:
    machine = Machine()
    groups = [[machine.subject("a", 0.1)], [machine.subject("b", 0.2), machine.subject("c", 0.4)]]
    measured = measure(groups, 1, machine.clock)
    assert [[s.medians[0] for s in group] for group in measured] == [
        [pytest.approx(0.1)],
        [pytest.approx(0.2), pytest.approx(0.4)],
    ]


def test_a_machine_that_grows_slower_changes_times_and_not_ratios() -> None:
    machine = Machine(lambda now: 1 + now / 10)
    group = [machine.subject("base", 0.010), machine.subject("half", 0.005)]
    group.append(machine.subject("base", 0.010))
    base, half, again = measure([group], 12, machine.clock)[0]
    assert base.medians[-1] > 1.5 * base.medians[0]
    noise = self_ratio(again, base)["noise"]
    result = ratio(half, base, noise)
    assert result["value"] == pytest.approx(0.5, rel=0.05)
    assert result["verdict"] == "faster" and noise < 0.1


@pytest.mark.parametrize(("time", "rarest", "most"), [(1.0, 0, 0.01), (0.9, 0, 0.2), (0.8, 0.8, 1)])
def test_files_are_ranked_as_often_as_said(time: float, rarest: float, most: float) -> None:
    """The shares of docs/explanation/measurement.md; a file takes `time` of the baseline's."""
    rng = np.random.default_rng(0)
    verdicts: list[str] = []
    for _ in range(300):
        first, again, other = np.exp(rng.normal(0, 0.05, (3, 10)))
        noise = self_ratio(samples([*again]), samples([*first]))["noise"]
        verdicts.append(ratio(samples([*(time * other)]), samples([*first]), noise)["verdict"])
    assert rarest <= verdicts.count("faster") / len(verdicts) <= most
    assert verdicts.count("slower") <= 0.01 * len(verdicts)


def test_the_noise_is_the_farther_end_of_the_self_ratio() -> None:
    result = self_ratio(samples([1.0, 1.1, 0.96]), samples([1.0, 1.0, 1.0]))
    assert (result["value"], result["low"], result["high"]) == (1.0, 0.96, 1.1)
    assert result["noise"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.7, 0.94, "faster"),
        (0.7, 0.96, "not ranked"),
        (0.98, 1.01, "not ranked"),
        (0.5, 2.0, "not ranked"),
        (1.04, 1.3, "not ranked"),
        (1.06, 1.3, "slower"),
    ],
)
def test_only_beyond_the_noise_a_file_is_ranked(low: float, high: float, expected: str) -> None:
    assert rank(low, high, 0.05) == expected


def test_a_summary_says_no_percentile_it_has_too_few_calls_for() -> None:
    def taken(each: int) -> CallTimes:
        return CallTimes([np.full(each, 0.002), np.full(each, 0.004), np.full(each, 0.003)])

    few = timing(taken(6), 8)
    assert (few["p50_ms"], few["rounds_ms"]) == (pytest.approx(3), pytest.approx([2, 4, 3]))
    assert few["spread"] == pytest.approx(2 / 3)
    assert few["images_per_second"] == pytest.approx(8 / 0.003)
    assert (few["calls"], few["p95_ms"], few["p99_ms"]) == (18, None, None)
    assert timing(taken(7), 1)["p95_ms"] == pytest.approx(4)
    assert timing(taken(33), 1)["p99_ms"] is None
    assert timing(taken(34), 1)["p99_ms"] == pytest.approx(4)


@pytest.mark.parametrize(("count", "skipped"), [(1, 0), (5, 0), (6, 0), (9, 1), (10, 1), (20, 5)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, skipped: int) -> None:
    values = np.random.default_rng(count).permutation(np.arange(count, dtype=np.float64))
    _, low, high = median_interval(values)
    assert (low, high) == (skipped, count - 1 - skipped)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=200))
def test_the_interval_holds_the_median(values: list[float]) -> None:
    middle, low, high = median_interval(np.array(values))
    assert min(values) <= low <= middle <= high <= max(values)


def test_the_collector_rests_while_time_is_taken_and_goes_on_after_a_failure() -> None:
    seen: list[bool] = []

    def load() -> Work:
        return lambda: seen.append(gc.isenabled()) or 1 / (len(seen) < 5)

    with pytest.raises(ZeroDivisionError):
        measure([[load]], 1)
    assert seen == [False] * 5 and gc.isenabled()
