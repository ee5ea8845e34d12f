"""Stored images of a dataset by row, without labels or with them. Needs no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageSet:
    """Stored square RGB images of some rows of an index, in memory or read when asked for.

    `images[key]` is a uint8 array `[k, S, S, 3]` for a slice or for int64 positions `[k]`.

    Attributes:
        paths: every image of the dataset, in index order; `paths[rows[i]]` is that of image i.
        rows: int64 `[n]`, index row of each image.
        pixels: uint8 `[n, S, S, 3]`, perhaps a mapped file; None for a set that is read lazily.
        size: side S in pixels.
        problems: one line per file that was dropped from the rows asked for, or needed a note.
        root: folder that messages name with the paths; None for images of the dataset.
    """

    paths: tuple[str, ...]
    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8] | None
    size: int
    problems: tuple[str, ...] = ()
    root: Path | None = None
    _gather: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    _hashes: NDArray[np.uint64] | None = None
    _name: Callable[[int], str] | None = None

    @classmethod
    def from_array(
        cls,
        pixels: NDArray[np.uint8],
        paths: tuple[str, ...] | None = None,
        rows: NDArray[np.int64] | None = None,
        problems: tuple[str, ...] = (),
    ) -> ImageSet:
        """A set over an array uint8 `[n, S, S, 3]`; ValueError unless it has a row per image.

        Rows are 0..n-1 and paths their numbers where none are given.
        """
        rows = np.arange(len(pixels)) if rows is None else rows
        paths = tuple(str(row) for row in rows) if paths is None else paths
        if pixels.ndim != 4 or len(pixels) != len(rows):
            raise ValueError(f"pixels {pixels.shape} do not fit {len(rows)} rows")
        return cls(paths, rows, pixels, int(pixels.shape[1]), problems)

    @classmethod
    def lazy(
        cls,
        gather: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        paths: tuple[str, ...],
        rows: NDArray[np.int64],
        size: int,
        hashes: NDArray[np.uint64],
        problems: tuple[str, ...] = (),
    ) -> ImageSet:
        """A set too large for memory: every access reads the images it names and keeps none.

        Args:
            gather: index rows int64 `[k]` to uint8 `[k, size, size, 3]`.
            hashes: uint64 `[n]`, `pixel_hash` of each image.
        """
        return cls(paths, rows, None, size, problems, _gather=gather, _hashes=hashes)

    @classmethod
    def join(cls, parts: Sequence[ImageSet]) -> ImageSet:
        """Images of several sets of one size, part after part, read when they are asked for.

        Their rows are their positions; `name` is still that of their part.
        """
        ends = np.cumsum([len(part) for part in parts])
        size = parts[0].size
        if any(part.size != size for part in parts):
            raise ValueError(f"images of sides {[part.size for part in parts]} cannot be joined")

        def gather(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
            out = np.empty((len(positions), size, size, 3), np.uint8)
            for number, places, own in by_part(ends, positions):
                out[places] = parts[number][own]
            return out

        def name(position: int) -> str:
            ((number, _, own),) = by_part(ends, np.array([position]))
            return parts[number].name(int(own[0]))

        return cls(
            paths=tuple(part.paths[row] for part in parts for row in part.rows),
            rows=np.arange(ends[-1]),
            pixels=None,
            size=size,
            problems=tuple(line for part in parts for line in part.problems),
            _gather=gather,
            _name=name,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, position: int) -> str:
        """What a message calls an image: its path, from the root where the set has one."""
        if self._name is not None:
            return self._name(position)
        path = self.paths[self.rows[position]]
        return path if self.root is None else os.fspath(self.root / path)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        if self.pixels is not None:
            return self.pixels[key]
        assert self._gather is not None
        return self._gather(self.rows[key])

    def hashes(self) -> NDArray[np.uint64]:
        """`pixel_hash` of each image, uint64 `[n]`; of a lazy set, as its store noted them."""
        if self._hashes is not None:
            return self._hashes
        return np.array([pixel_hash(image) for image in self[:]], dtype=np.uint64)


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels.

    Attributes:
        images: n stored images.
        labels: int64 `[n]`, position among the known classes; -1 for an unknown class, and in
            training for an image without a label.
        domains: for each domain that has images here, the positions of its images, int64; empty
            where nobody asks.
    """

    images: ImageSet
    labels: NDArray[np.int64]
    domains: tuple[NDArray[np.int64], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def unlabelled(self) -> NDArray[np.int64]:
        """Positions of the images whose label is -1."""
        return np.flatnonzero(self.labels < 0)

    @cached_property
    def domain_of(self) -> NDArray[np.int64]:
        """Number of each image's domain, int64 `[n]`; -1 for an image of none."""
        numbers = np.full(len(self), -1, np.int64)
        for number, positions in enumerate(self.domains):
            numbers[positions] = number
        return numbers

    @cached_property
    def classes(self) -> tuple[tuple[NDArray[np.int64], ...], ...]:
        """For each of `domains`, the positions of the images of each class it has, int64."""
        return tuple(
            tuple(rows[self.labels[rows] == label] for label in np.unique(self.labels[rows]))
            for rows in self.domains
        )


def by_part(
    ends: NDArray[np.int64], positions: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """The parts that positions in joined sets fall into.

    Args:
        ends: position behind the last image of each part, int64.
        positions: int64 `[k]`, in any order.

    Yields the number of a part, places among `positions`, and positions within that part.
    """
    numbers = np.searchsorted(ends, positions, side="right")
    for number in np.unique(numbers).tolist():
        places = np.flatnonzero(numbers == number)
        start = ends[number - 1] if number else 0
        yield number, places, positions[places] - start


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """64-bit hash of an image's bytes, never 0."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    return max(int.from_bytes(digest, "little"), 1)
