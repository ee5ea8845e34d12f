"""Some images of a store, in memory or read when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LazyImages:
    """Images too large to hold: each access reads those it names, and nothing is kept.

    Attributes:
        rows: int64 `[n]`, rows of the store.
        hashes: uint64 `[n]`, what `pixel_hashes` would find, noted when the store was built.
        size: side S.
        gather: rows to uint8 `[K, S, S, 3]`.
    """

    rows: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    size: int
    gather: Callable[[NDArray[np.int64]], NDArray[np.uint8]]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), self.size, self.size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.gather(self.rows[key])

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self[:]


# uint8 [n, S, S, 3] RGB that is indexed by slices and positions; every access gives an array.
Images = NDArray[np.uint8] | LazyImages


def pixel_hashes(images: Images) -> NDArray[np.uint64]:
    """A hash of each image's bytes, uint64 `[n]`, never 0; read from the store for lazy ones."""
    if isinstance(images, LazyImages):
        return images.hashes
    return np.array([pixel_hash(image) for image in images], dtype=np.uint64)


def pixel_hash(image: NDArray[np.uint8]) -> int:
    """64-bit hash of an image's bytes, never 0."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    return max(int.from_bytes(digest, "little"), 1)
