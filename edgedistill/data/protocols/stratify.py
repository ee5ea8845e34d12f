"""Sides of the instances of a class: training, validation, held-out test.

An instance is known by its hash u in [0, 1) alone, see `instance_hash`, and instances are taken in
the order of u. Every class that can be on a side has an instance there.
"""

import numpy as np
from numpy.typing import NDArray


def hashed_validation(
    u: NDArray[np.float64], label: NDArray[np.int64], fraction: float, start: float = 0.0
) -> NDArray[np.bool_]:
    """Rows of instances that validate because their hash lies below a bound: bool [N].

    Of [start, 1), the lowest `fraction` validates. A class whose instances would all be on one side
    gives its lowest to validation, or its highest to training; a single one is trained on. No other
    row depends on which classes and instances there are.

    Args:
        u: float64 [N], hash of each row's instance.
        label: int64 [N], class of each row.
        fraction: share that validates, in [0, 1).
        start: hashes below it are neither trained on nor validated.
    """
    bound = start + fraction * (1 - start)
    is_val = (u >= start) & (u < bound)
    for rows in _rows_by_class(label):
        values = np.unique(u[rows])
        values = values[values >= start]
        count = int(np.count_nonzero(values < bound))
        wanted = min(max(count, int(fraction > 0)), len(values) - 1)
        if len(values) and wanted != count:
            is_val[rows] = np.isin(u[rows], values[:wanted])
    return is_val


def held_out_parts(
    u: NDArray[np.float64],
    label: NDArray[np.int64],
    val_fraction: float,
    test_fraction: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows that validate and rows that are tested on, a share of every class: two bool [N].

    Of the n instances of a class, `test_fraction` x n rounded are tested on and `val_fraction` of
    the others, rounded, validate. Where a share is above 0 and the class has instances enough, at
    least one is on its side: two are enough for training and validation, three for the test too.

    Args:
        u: float64 [N], hash of each row's instance.
        label: int64 [N], class of each row.
        val_fraction: share of the rows not tested on that validates, in [0, 1).
        test_fraction: share that is tested on, in [0, 1).
    """
    is_val, is_test = np.zeros(len(u), dtype=bool), np.zeros(len(u), dtype=bool)
    for rows in _rows_by_class(label):
        values = np.unique(u[rows])
        needed = 2 if val_fraction > 0 else 1
        test = _share(test_fraction, len(values), len(values) - needed)
        val = _share(val_fraction, len(values) - test, len(values) - test - 1)
        is_test[rows] = np.isin(u[rows], values[:test])
        is_val[rows] = np.isin(u[rows], values[test : test + val])
    return is_val, is_test


def _share(fraction: float, count: int, most: int) -> int:
    """`fraction` x `count` rounded half up, at least 1 if there is a fraction, at most `most`."""
    return max(min(max(int(fraction * count + 0.5), int(fraction > 0)), most), 0)


def _rows_by_class(label: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(label, kind="stable")
    bounds = np.flatnonzero(np.diff(label[order])) + 1
    return [rows for rows in np.split(order, bounds) if len(rows)]
