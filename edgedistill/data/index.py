"""The list of images every other part works from: paths, domain ids and labels, no pixels."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

NOT_GIVEN, TRAIN, VAL, TEST = range(4)


@dataclass(frozen=True)
class Index:
    """Images of a dataset in a fixed order; a *row* everywhere in the project is a position here.

    Attributes:
        root: folder that `paths` are relative to.
        domains: domain names; the position is the domain id.
        classes: names of all classes, known and unknown; the position is the label.
        paths: N POSIX paths, relative to `root`.
        domain: int64 [N], domain id of each row.
        label: int64 [N], class id of each row; -1 in an index without classes.
        names: class name -> the names a prompt may call it.
        unknown: classes that are unknown unless a recipe says otherwise.
        test_fraction: default share of instances reserved for the target test.
        problems: one line per file that was skipped or needed special handling.
        omitted: one line per reason for which the listing left something out, with the number.
        instance_separator: ends the name of the instance in a file stem, "" where it is the stem.
        split: int8 [N], the part of a given split that each row is in: `NOT_GIVEN`, `TRAIN`, `VAL`
            or `TEST`, 0 to 3; all 0 where nothing is passed.
    """

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    domain: NDArray[np.int64]
    label: NDArray[np.int64]
    names: dict[str, tuple[str, ...]]
    unknown: tuple[str, ...]
    test_fraction: float
    problems: tuple[str, ...]
    omitted: tuple[str, ...] = ()
    instance_separator: str = ""
    split: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def __post_init__(self) -> None:
        if len(self.split) == 0:
            object.__setattr__(self, "split", np.zeros(len(self.paths), np.int8))
        elif len(self.split) != len(self.paths):
            raise ValueError(f"a split of {len(self.split)} rows for {len(self.paths)} images")

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, row: int) -> Path:
        """Absolute path of one row's file."""
        return self.root / self.paths[row]

    def instance(self, row: int) -> str:
        """Name of what a row shows; a split keeps the rows of a class that agree in it together."""
        stem = PurePosixPath(self.paths[row]).stem
        return stem.split(self.instance_separator)[0] if self.instance_separator else stem

    def class_id(self, name: str) -> int:
        """Label of a class name; raises ValueError for a name that is not in `classes`."""
        return self.classes.index(name)
