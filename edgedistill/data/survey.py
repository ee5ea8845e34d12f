"""A dataset as it is before anything is decided about it: sizes, likely unknown classes, copies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgedistill.data.index import NOT_GIVEN, TRAIN, Index
from edgedistill.data.protocols.split import Split
from edgedistill.data.spelling import spelling_key
from edgedistill.data.store.image_store import Store

# What people call the class of all that belongs to no class.
UNKNOWN_NAMES = frozenset(
    [
        "background",
        "distractor",
        "distractors",
        "junk",
        "misc",
        "miscellaneous",
        "negative",
        "negatives",
        "none",
        "ood",
        "other",
        "others",
        "out of distribution",
        "rest",
        "unknown",
        "unknowns",
    ]
)
_SAMPLE = 200


def likely_unknown(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes that are called what belongs to no class; () where two others would not be left.

    "negative" is a class like any other beside "positive".
    """
    keys = {spelling_key(name) for name in classes}
    names = UNKNOWN_NAMES - {"negative", "negatives"} if "positive" in keys else UNKNOWN_NAMES
    unknown = tuple(name for name in classes if spelling_key(name) in names)
    return unknown if len(classes) - len(unknown) >= 2 else ()


def never_trained(index: Index, target: str | None) -> tuple[str, ...]:
    """Classes without an image that may be trained on; () where two others would not be left.

    They are in the domain `target` alone, or in the validation or test part of a given split.
    """
    trained = np.isin(index.split, (NOT_GIVEN, TRAIN))
    if target in index.domains:
        trained &= index.domain != index.domains.index(target)
    labels = set(index.label[trained].tolist())
    names = tuple(name for label, name in enumerate(index.classes) if label not in labels)
    return names if len(labels) >= 2 else ()


def shorter_sides(index: Index) -> NDArray[np.int64]:
    """Shorter sides in pixels of at most 200 images, evenly spaced; of files that can be opened."""
    rows = np.unique(np.linspace(0, len(index) - 1, min(len(index), _SAMPLE)).round().astype(int))
    sides = []
    for row in rows.tolist():
        try:
            # The header alone.
            with Image.open(index.path(row)) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return np.array(sides, np.int64)


@dataclass(frozen=True)
class Copies:
    """Images with equal pixels at a store's size.

    Attributes:
        repeated: images that are copies of an earlier one.
        across: images for validation or test that are copies of a training image.
        conflicting: images that are copies of one of another class.
        example: two paths of a conflicting pair, else of one across the split, else of any; None
            without copies.
    """

    repeated: int
    across: int
    conflicting: int
    example: tuple[str, str] | None


def find_copies(index: Index, store: Store, split: Split) -> Copies:
    """Copies among the readable images of a dataset, by the hashes that its store noted."""
    rows = np.flatnonzero(store.readable)
    hashes, labels = store.hashes[rows], index.label[rows]
    order = np.lexsort((rows, hashes))
    rows, hashes, labels = rows[order], hashes[order], labels[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(rows) else rows
    # Of each image, the position of the first with the same pixels.
    first = np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    is_copy = first != np.arange(len(rows))
    is_conflict = is_copy & (labels != labels[first])
    in_train = np.isin(rows, split.train)
    tested = np.isin(rows, np.concatenate([split.val, split.target_known, split.target_unknown]))
    is_across = tested & np.isin(hashes, hashes[in_train])
    example = None
    for wanted in (is_conflict, is_across, is_copy):
        if wanted.any():
            position = int(np.argmax(wanted))
            group = np.flatnonzero(hashes == hashes[position])
            others = group[in_train[group]] if wanted is is_across else group
            other = int(others[others != position][0])
            example = (index.paths[rows[other]], index.paths[rows[position]])
            break
    return Copies(int(is_copy.sum()), int(is_across.sum()), int(is_conflict.sum()), example)
