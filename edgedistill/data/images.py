"""Stored images of a dataset by row, without labels or with them. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
    """

    paths: tuple[str, ...]
    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8] | None
    size: int
    problems: tuple[str, ...] = ()
    _gather: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    _hashes: NDArray[np.uint64] | None = None

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
        return cls(paths, rows, None, size, problems, gather, hashes)

    def __len__(self) -> int:
        return len(self.rows)

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
        labels: int64 `[n]`, position among the known classes; -1 for an unknown class.
        domains: for each domain that has images here, the positions of its images, int64; empty
            where nobody asks.
    """

    images: ImageSet
    labels: NDArray[np.int64]
    domains: tuple[NDArray[np.int64], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def classes(self) -> tuple[tuple[NDArray[np.int64], ...], ...]:
        """For each of `domains`, the positions of the images of each class it has, int64."""
        return tuple(
            tuple(rows[self.labels[rows] == label] for label in np.unique(self.labels[rows]))
            for rows in self.domains
        )


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """64-bit hash of an image's bytes, never 0."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    return max(int.from_bytes(digest, "little"), 1)
