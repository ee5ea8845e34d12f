"""Significance of the matrix's differences: paired sign-flip tests, corrected by Holm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import permutation_test

# So many pairs have 2^16 sign flips, counted one by one; with more pairs as many are drawn.
EXACT_PAIRS = 16
FLIPS = 2**EXACT_PAIRS
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """`a` minus `b` on the pairs of runs that both have.

    Attributes:
        group: what both are of, such as the student.
        pairs: how many (target, seed) both have.
        difference: mean of the paired differences.
        p: of the sign-flip test; `adjusted`: the same after Holm over the whole family.
        targets: how many target domains there are, and `agree` in how many of them the mean
            difference has the sign of `difference`.
    """

    group: str
    a: str
    b: str
    pairs: int
    difference: float
    p: float
    targets: int
    agree: int
    adjusted: float = 1.0

    @property
    def significant(self) -> bool:
        return self.adjusted < LEVEL


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences, over all flips of their signs.

    Of more than EXACT_PAIRS differences an estimate (Monte Carlo), from FLIPS random ones.

    Under the hypothesis that the two sides of every pair might as well be exchanged. The smallest
    possible value for n pairs is 2 / 2^n. Raises ValueError without differences.
    """
    values = np.asarray(differences, np.float64)
    if not values.size:
        raise ValueError("no differences")
    if values.size == 1 or not values.any():
        return 1.0

    def mean(x: Any, axis: int = -1) -> Any:
        return np.mean(x, axis=axis)

    test = permutation_test(
        (values,),
        mean,
        permutation_type="samples",
        n_resamples=FLIPS,
        vectorized=True,
        random_state=np.random.default_rng(0),
    )
    return float(min(1.0, test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979, Scand. J. Statist. 6), in the same order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, largest)
    return adjusted


def family(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons with their p-values adjusted for one another."""
    tests = list(comparisons)
    adjusted = holm([c.p for c in tests])
    return [
        Comparison(**{**c.__dict__, "adjusted": value})
        for c, value in zip(tests, adjusted, strict=True)
    ]


def compare(
    group: str,
    a: str,
    b: str,
    left: Mapping[tuple[str, int], float],
    right: Mapping[tuple[str, int], float],
) -> Comparison | None:
    """Values by (target, seed) of both sides, compared where both have one; None without pairs."""
    shared = sorted(set(left) & set(right))
    if not shared:
        return None
    differences = {place: left[place] - right[place] for place in shared}
    mean = float(np.mean(list(differences.values())))
    by_target: dict[str, list[float]] = {}
    for (target, _), value in differences.items():
        by_target.setdefault(target, []).append(value)
    agree = sum(np.sign(np.mean(values)) == np.sign(mean) for values in by_target.values())
    p = sign_flip_p([differences[place] for place in shared])
    return Comparison(group, a, b, len(shared), mean, p, len(by_target), int(agree))


def methods_compared(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Comparison]:
    """Every two methods of every student in a metric of the fp32 file: one family."""
    values: dict[str, dict[str, dict[tuple[str, int], float]]] = {}
    for row in rows:
        value = row["fp32"][metric]
        if value is not None:
            methods = values.setdefault(row["student"], {})
            methods.setdefault(row["method"], {})[row["target"], row["seed"]] = value
    tests = (
        compare(student, a, b, methods[a], methods[b])
        for student, methods in values.items()
        for a, b in combinations(methods, 2)
    )
    return family(c for c in tests if c is not None)


def int8_compared(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Comparison]:
    """int8 minus fp32 of every student, over all of its runs with both files: one family.

    The pairs are (method and target, seed), so "targets" counts pairs of method and target.
    """
    sides: dict[str, tuple[dict[tuple[str, int], float], dict[tuple[str, int], float]]] = {}
    for row in rows:
        int8, fp32 = row["int8"].get(metric), row["fp32"][metric]
        if int8 is not None and fp32 is not None:
            left, right = sides.setdefault(row["student"], ({}, {}))
            place = (f"{row['method']} {row['target']}", row["seed"])
            left[place], right[place] = int8, fp32
    tests = (compare(s, "int8", "fp32", left, right) for s, (left, right) in sides.items())
    return family(c for c in tests if c is not None)


def beaten(comparisons: Sequence[Comparison], group: str, name: str) -> list[str]:
    """Names of `group` that `name` is significantly better than, higher being better."""
    losers = []
    for c in comparisons:
        if c.group == group and c.significant and name in (c.a, c.b):
            winner, loser = (c.a, c.b) if c.difference > 0 else (c.b, c.a)
            if winner == name:
                losers.append(loser)
    return losers


def smallest_possible(comparisons: Sequence[Comparison]) -> float | None:
    """The smallest adjusted p that so many comparisons of so many pairs could have come to."""
    if not comparisons:
        return None
    return min(1.0, len(comparisons) * 2 / 2 ** max(c.pairs for c in comparisons))
