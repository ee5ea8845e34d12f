"""Images of a pretraining: folders listed as one index, and the share of it that is held out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.index import Index
from edgedistill.data.readers.unlabelled import read_unlabelled
from edgedistill.data.views import image_key
from edgedistill.errors import DataError

_KEY = "data.images"
# Images that are held out at most: a mean over so many no longer wavers.
MOST_HELD_OUT = 2000


@dataclass(frozen=True)
class Listing:
    """The images of a pretraining.

    Attributes:
        index: all of them, one domain without classes.
        train, held_out: rows, int64, ascending, at least one each.
    """

    index: Index
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def list_and_split(folders: Sequence[str], held_out: float) -> Listing:
    """The images of folders, of which about a share is held out. Raises DataError."""
    index = list_images(folders)
    return Listing(index, *hold_out(index, held_out))


def list_images(folders: Sequence[str]) -> Index:
    """The images of folders, at any depth, as one domain without classes.

    An image below two of the folders is listed once. Raises DataError for a folder that is not
    there, has no image or cannot be read, and for fewer than two images in all.
    """
    parts = [read_unlabelled(folder, _KEY) for folder in folders]
    root = Path(os.path.commonpath([part.root for part in parts]))
    paths: dict[str, None] = {}
    for part in parts:
        below = part.root.relative_to(root)
        paths |= dict.fromkeys((below / path).as_posix() for path in part.paths)
    if len(paths) < 2:
        raise DataError(f"{_KEY}: one image in {root} is too few; give more")
    first = parts[0]
    omitted = [f"{part.root}: left out {line}" for part in parts for line in part.omitted]
    return replace(
        first,
        root=root,
        domains=("images",),
        paths=tuple(paths),
        domain=np.zeros(len(paths), np.int64),
        label=np.full(len(paths), -1, np.int64),
        omitted=tuple(omitted),
        split=np.zeros(len(paths), np.int8),
    )


def hold_out(index: Index, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows held out, ascending; at least one of each.

    An image's side depends on its path and on how many there are, not on the order or a seed.
    """
    keys = np.array([image_key(path) for path in index.paths], np.uint64)
    count = min(max(round(share * len(index)), 1), MOST_HELD_OUT, len(index) - 1)
    order = np.argsort(keys, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])


def part_of(index: Index, rows: NDArray[np.int64]) -> Index:
    """An index of some rows alone, so that a store of them decodes no others."""
    return replace(
        index,
        paths=tuple(index.paths[row] for row in rows.tolist()),
        domain=index.domain[rows],
        label=index.label[rows],
        split=index.split[rows],
    )
