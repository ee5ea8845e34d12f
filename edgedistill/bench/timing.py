"""Comparable latencies: interleaved rounds, medians of rounds, paired ratios.

A round loads every subject afresh, warms it up, and calls it a number of times that is fixed before
the first round. All subjects of a group are taken one after the other within a round, in an order
drawn anew for every round, so that a slow phase of the machine slows all of them alike and none
always follows the same other one. Loading afresh makes the differences between loadings of a file
(memory layout, cores of its threads) part of the rounds' spread.

All rankings are based on the medians of rounds. The interval of a median over rounds is that of
order statistics: it assumes nothing about how the rounds are distributed but that they are drawn
alike.
"""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgedistill.bench.result import Ranking, Ratio, SelfRatio, Timing

Work = Callable[[], object]
Load = Callable[[], Work]
"""Loads a subject afresh; the function it returns is called and timed."""

WARM_UP = 3
# Calls of a subject in one round: as many as fit into this time, within these limits.
ROUND_SECONDS = 0.2
FEWEST, MOST = 10, 100
# For a percentile of all calls.
FEWEST_CALLS = {95: 20, 99: 100}
NOISY = 0.05
_SEED = 0


@dataclass
class CallTimes:
    """Seconds of every call of one subject, float64 [calls] per round."""

    rounds: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def medians(self) -> NDArray[np.float64]:
        """Of each round, float64 [rounds], seconds."""
        return np.array([np.median(calls) for calls in self.rounds])


def measure(
    groups: Sequence[Sequence[Load]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[CallTimes]]:
    """Time groups of subjects that are to be compared with each other.

    Args:
        groups: subjects of a group are timed side by side; groups follow one another within every
            round. The order within a group is random, and the same for every call of this.
        rounds: how many, 1 or more. One more round goes before, to find how often each subject
            is called; it does not count.
        clock: seconds.
        tick: called with (loadings done, loadings in all).

    Returns:
        The samples of every subject, as `groups` is nested.
    """
    samples_by_group = [[CallTimes() for _ in group] for group in groups]
    counts = [[0 for _ in group] for group in groups]
    total = (rounds + 1) * sum(map(len, groups))
    done = 0
    order = np.random.default_rng(_SEED)
    for number in range(rounds + 1):
        for group, samples, calls in zip(groups, samples_by_group, counts, strict=True):
            for i in order.permutation(len(group)).tolist():
                work = group[i]()
                _times(work, WARM_UP, clock)
                if number == 0:
                    calls[i] = _how_often(_times(work, WARM_UP, clock))
                else:
                    samples[i].rounds.append(_times(work, calls[i], clock))
                # Now, and not while the next one is being timed.
                del work
                done += 1
                tick(done, total)
    return samples_by_group


def timing(samples: CallTimes, batch: int) -> Timing:
    """Summarise; `batch` images are answered by a call."""
    medians, calls = samples.medians, np.concatenate(samples.rounds)
    middle = float(np.median(medians))
    return Timing(
        p50_ms=1e3 * middle,
        p95_ms=_percentile(calls, 95),
        p99_ms=_percentile(calls, 99),
        rounds_ms=[1e3 * float(value) for value in medians],
        spread=float(np.ptp(medians)) / middle,
        calls=len(calls),
        images_per_second=batch / middle,
    )


def self_ratio(second: CallTimes, baseline: CallTimes) -> SelfRatio:
    """The baseline's second entry over its first: the noise of everything in their group."""
    value, low, high = _ratio(second, baseline)
    return SelfRatio(value=value, low=low, high=high, noise=max(abs(low - 1), abs(high - 1)))


def ratio(samples: CallTimes, baseline: CallTimes, noise: float) -> Ratio:
    """Over the baseline, ranked only beyond the group's noise.

    The noise comes from another pair than the one that is judged, the baseline's two entries. The
    interval has the rounds' noise in it already, so that it counts twice: equal files are ranked
    far less often than 5 times of 100, and so are files that are nearly equal.
    """
    value, low, high = _ratio(samples, baseline)
    return Ratio(value=value, low=low, high=high, verdict=rank(low, high, noise))


def rank(low: float, high: float, noise: float) -> Ranking:
    """Direction of an interval of time ratios; "not ranked" where it meets 1 ± noise."""
    if high < 1 - noise:
        return "faster"
    return "slower" if low > 1 + noise else "not ranked"


def median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median of independent values [n], and an interval that holds the true one 95 times of 100.

    The interval runs between two order statistics (the sign test's); with fewer than 6 values no
    interval of theirs is that sure, and the smallest and largest are given.
    """
    ordered, n = np.sort(values), len(values)
    skip, below = 0, 0.5**n
    # P(at most `skip` of n values lie below the true median) <= 2.5 %.
    while (following := below + math.comb(n, skip + 1) * 0.5**n) <= 0.025:
        skip, below = skip + 1, following
    return float(np.median(ordered)), float(ordered[skip]), float(ordered[n - 1 - skip])


def _ratio(samples: CallTimes, baseline: CallTimes) -> tuple[float, float, float]:
    return median_interval(samples.medians / baseline.medians)


def _times(work: Work, calls: int, clock: Callable[[], float]) -> NDArray[np.float64]:
    seconds = np.empty(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(calls):
            begin = clock()
            work()
            seconds[i] = clock() - begin
    finally:
        if collecting:
            gc.enable()
    return seconds


def _how_often(seconds: NDArray[np.float64]) -> int:
    per_call = max(float(np.median(seconds)), 1e-9)
    return int(np.clip(ROUND_SECONDS / per_call, FEWEST, MOST))


def _percentile(seconds: NDArray[np.float64], percent: int) -> float | None:
    enough = len(seconds) >= FEWEST_CALLS[percent]
    return 1e3 * float(np.percentile(seconds, percent)) if enough else None
