"""Batches of positions and view numbers: a pure function of (seed, step), so nothing to save."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Positions in the training images, int64 `[B]`, and the view of each, int64 `[B]`."""

    positions: NDArray[np.int64]
    views: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def joined(self, other: "Batch") -> "Batch":
        """This batch, and another behind it."""
        return Batch(
            np.concatenate([self.positions, other.positions]),
            np.concatenate([self.views, other.views]),
        )

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
            parts.append(positions[_walk(len(positions), (seed, 3, domain), step, per_domain)])
    return _with_views(parts, seed, step, views)


def draw_class_balanced_batch(
    domains: Sequence[Sequence[NDArray[np.int64]]],
    *,
    seed: int,
    step: int,
    per_domain: int,
    views: int,
    replacement: bool,
) -> Batch:
    """The batch of a step in which every class of a domain is equally likely.

    Without replacement the classes of a domain are walked through in a new order every pass, so
    their counts differ by at most one, and so are the images of each class.

    Args:
        domains: for each domain, positions of the images of each of its classes, int64, none empty.
        views: number of cached views to choose from; 0 draws from all 2**31.
    """
    draw = _independent if replacement else _in_passes
    parts = [draw(classes, seed, d, step, per_domain) for d, classes in enumerate(domains)]
    return _with_views(parts, seed, step, views)


def draw_unlabelled_batch(
    positions: NDArray[np.int64],
    *,
    seed: int,
    step: int,
    count: int,
    views: int,
    replacement: bool,
) -> Batch:
    """`count` images without a label for a step; the draws of labelled ones are others.

    Args:
        positions: of the images to draw from, int64.
        views: number of cached views to choose from; 0 draws from all 2**31.
    """
    if replacement:
        entries = np.random.default_rng([seed, 5, step]).integers(len(positions), size=count)
    else:
        entries = _walk(len(positions), (seed, 6), step, count)
    numbers = np.random.default_rng([seed, 7, step]).integers(views or 2**31, size=count)
    return Batch(positions[entries], numbers)


def mixing_generator(seed: int, step: int) -> np.random.Generator:
    """Source of the draws with which a method mixes the images of a step."""
    return np.random.default_rng([seed, 8, step])


def _with_views(parts: Sequence[NDArray[np.int64]], seed: int, step: int, views: int) -> Batch:
    chosen = np.concatenate(parts)
    rng = np.random.default_rng([seed, 2, step])
    return Batch(chosen, rng.integers(views or 2**31, size=len(chosen)))


def _independent(
    classes: Sequence[NDArray[np.int64]], seed: int, domain: int, step: int, count: int
) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed, 1, domain, step])
    of_class = rng.integers(len(classes), size=count)
    sizes = np.array([len(positions) for positions in classes])
    image = rng.integers(sizes[of_class])
    return np.array([classes[c][i] for c, i in zip(of_class, image, strict=True)], np.int64)


def _in_passes(
    classes: Sequence[NDArray[np.int64]], seed: int, domain: int, step: int, count: int
) -> NDArray[np.int64]:
    of_class = _walk(len(classes), (seed, 3, domain), step, count)
    chosen = np.empty(count, np.int64)
    for slot, label in enumerate(of_class):
        # A pass over the classes takes one image of each: its number counts the images so far.
        turn = (step * count + slot) // len(classes)
        number, entry = divmod(turn, len(classes[label]))
        rng = np.random.default_rng([seed, 4, domain, label, number])
        chosen[slot] = classes[label][rng.permutation(len(classes[label]))[entry]]
    return chosen


def _walk(length: int, stream: tuple[int, ...], step: int, count: int) -> NDArray[np.int64]:
    """Entries `step * count` onwards of an endless walk through fresh permutations.

    `stream` seeds it, and is its own among all draws of the run.
    """
    start, end = step * count, (step + 1) * count
    passes = [
        _pass(length, stream, number) for number in range(start // length, (end - 1) // length + 1)
    ]
    offset = start - start // length * length
    return np.concatenate(passes)[offset : offset + count]


@lru_cache(maxsize=8)
def _pass(length: int, stream: tuple[int, ...], number: int) -> NDArray[np.int64]:
    """The permutation of one pass, read-only; of a million images it takes longer than a step."""
    order = np.random.default_rng([*stream, number]).permutation(length)
    order.flags.writeable = False
    return order
