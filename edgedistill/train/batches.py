"""Batches of positions and view numbers: a pure function of (seed, step), so nothing to save."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Positions in the training images, int64 `[B]`, and the view of each, int64 `[B]`."""

    positions: NDArray[np.int64]
    views: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, rows: slice | NDArray[np.int64]) -> "Batch":
        """Some rows, in the order given."""
        return Batch(self.positions[rows], self.views[rows])


def draw_batch(
    domains: Sequence[NDArray[np.int64]],
    *,
    seed: int,
    step: int,
    per_domain: int,
    views: int,
    replacement: bool,
) -> Batch:
    """The batch of a step: `per_domain` images of each source domain, domain by domain.

    Without replacement a domain is walked through in a new order every pass.

    Args:
        domains: positions of the images of each domain, int64.
        views: number of cached views to choose from; 0 draws from all 2**31.
    """
    parts = []
    for domain, positions in enumerate(domains):
        if replacement:
            rng = np.random.default_rng([seed, 1, domain, step])
            parts.append(positions[rng.integers(len(positions), size=per_domain)])
        else:
            parts.append(positions[_walk(len(positions), seed, domain, step, per_domain)])
    chosen = np.concatenate(parts)
    rng = np.random.default_rng([seed, 2, step])
    return Batch(chosen, rng.integers(views or 2**31, size=len(chosen)))


def _walk(length: int, seed: int, domain: int, step: int, count: int) -> NDArray[np.int64]:
    """Entries `step * count` onwards of an endless walk through fresh permutations."""
    start, end = step * count, (step + 1) * count
    passes = [
        np.random.default_rng([seed, 3, domain, number]).permutation(length)
        for number in range(start // length, (end - 1) // length + 1)
    ]
    offset = start - start // length * length
    return np.concatenate(passes)[offset : offset + count]
