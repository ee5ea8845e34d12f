"""Hybridness, the overlap of the source domains' classes, and splits that have a given one.

Hybridness H of label sets C_1 ... C_S is the mean over pairs of |C_i & C_j| / |union of all C|.
This is our reading of HDG (arXiv 2404.09011), whose formula is not published with its code; it
gives every ratio that the authors state for their splits.
"""

from collections.abc import Collection, Hashable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise

from edgedistill.errors import DataError

# A value written with two decimals still means the fraction it stands for.
TOLERANCE = Fraction(1, 200)


def hybridness(classes_per_source: Sequence[Collection[Hashable]]) -> Fraction | None:
    """Overlap of the label sets: 0 = disjoint, 1 = identical.

    None for fewer than two sources or no classes.
    """
    sets = [set(classes) for classes in classes_per_source]
    union = len(set().union(*sets))
    pairs = list(combinations(sets, 2))
    if not pairs or not union:
        return None
    return Fraction(sum(len(a & b) for a, b in pairs), len(pairs) * union)


def overlapping_windows(classes: int, sources: int, value: Fraction) -> list[tuple[int, ...]]:
    """Class ids of each of S sources, S lists with a hybridness of `value`.

    The known classes lie on a circle, which the sources cut into equal arcs; each source has its
    arc and as many classes beyond its end as `value` asks for. Together they have all classes.

    Raises:
        DataError: fewer classes than sources, or no overlap comes within `TOLERANCE`.
    """
    if sources > classes:
        raise DataError(
            f"split: {sources} source domains cannot share {classes} known classes so that each "
            "has one of its own; use fewer domains or protocol = 'instances'"
        )
    candidates = [_windows(classes, sources, extra) for extra in range(classes)]
    values = [hybridness(windows) for windows in candidates]
    if values[0] is None:
        raise DataError("split: hybridness needs two source domains or more")
    gaps = [abs(v - value) for v in values if v is not None]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    if gaps[best] > TOLERANCE:
        possible = ", ".join(str(v) for v in dict.fromkeys(values))
        raise DataError(
            f"split: no hybridness {value} with {classes} known classes and {sources} source "
            f"domains; possible: {possible}; or list data.classes_per_source"
        )
    return candidates[best]


def _windows(classes: int, sources: int, extra: int) -> list[tuple[int, ...]]:
    edges = [classes * s // sources for s in range(sources + 1)]
    return [
        tuple(sorted({i % classes for i in range(start, end + extra)}))
        for start, end in pairwise(edges)
    ]
