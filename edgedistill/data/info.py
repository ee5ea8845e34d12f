"""What a dataset holds, as rows of plain values; the command line renders them."""

from dataclasses import dataclass

import numpy as np

from edgedistill.data.index import Index
from edgedistill.data.protocols.split import Split


@dataclass(frozen=True)
class ClassRow:
    """Counts of one class.

    Attributes:
        name: the class.
        role: "known", "unknown", or "left out" when a split uses it for neither.
        images: images per domain, in the order of the index.
        train, val, test: images of the class in each part of the split; all 0 without a split.
    """

    name: str
    role: str
    images: tuple[int, ...]
    train: int
    val: int
    test: int


def dataset_table(index: Index, split: Split | None = None) -> list[ClassRow]:
    """One row per class, known classes first, each part in the order of the index or the split."""
    known = split.known if split else tuple(c for c in index.classes if c not in index.unknown)
    unknown = split.unknown if split else index.unknown
    rest = tuple(c for c in index.classes if c not in known and c not in unknown)
    images = np.zeros((len(index.classes), len(index.domains)), dtype=np.int64)
    np.add.at(images, (index.label, index.domain), 1)
    parts = np.zeros((3, len(index.classes)), dtype=np.int64)
    if split:
        test = np.concatenate([split.target_known, split.target_unknown])
        for part, rows in zip(parts, (split.train, split.val, test), strict=True):
            part += np.bincount(index.label[rows], minlength=len(index.classes))
    return [
        ClassRow(
            name,
            role,
            tuple(images[index.class_id(name)].tolist()),
            *(int(part[index.class_id(name)]) for part in parts),
        )
        for role, names in (("known", known), ("unknown", unknown), ("left out", rest))
        for name in names
    ]
