"""Index of images that a file names one by one, with their classes: CSV files and image lists."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import Omissions, Reason
from edgedistill._utils.printable import printable
from edgedistill.data.index import NOT_GIVEN, Index
from edgedistill.data.readers.folder import prompt_names
from edgedistill.data.readers.split_names import PART_NAMES
from edgedistill.errors import DataError

# Lines and names that a message shows.
_SHOWN = 3
_WIDTH = 120


@dataclass(frozen=True, order=True)
class Row:
    """One image of a table.

    Attributes:
        domain, label: names.
        path: as in `Index`.
        split: as in `Index`.
        place: file and line, for messages.
    """

    domain: str
    label: str
    path: str
    split: int = NOT_GIVEN
    place: str = field(default="", compare=False)


def index_rows(root: Path, rows: Sequence[Row]) -> Index:
    """The index of a table's images, sorted by domain, class and path.

    Lines that say the same again are counted in `Index.omitted`. Classes that are numbers are in
    the order of the numbers.

    Raises DataError: a path with two classes, domains or parts of a split, or a missing file.
    """
    omissions = Omissions()
    row_of: dict[str, Row] = {}
    for row in rows:
        first = row_of.setdefault(row.path, row)
        if first is row:
            continue
        if first == row:
            omissions.add(Reason.REPEATED, row.place)
        else:
            _refuse_contradiction(first, row)
    _refuse_missing(root, list(row_of.values()))
    domains = tuple(sorted({row.domain for row in row_of.values()}))
    classes = _sorted_classes({row.label for row in row_of.values()})
    label_of = {name: number for number, name in enumerate(classes)}
    domain_of = {name: number for number, name in enumerate(domains)}
    ordered = sorted(row_of.values(), key=lambda row: (row.domain, label_of[row.label], row.path))
    return Index(
        root=root,
        domains=domains,
        classes=classes,
        paths=tuple(row.path for row in ordered),
        domain=np.array([domain_of[row.domain] for row in ordered], dtype=np.int64),
        label=np.array([label_of[row.label] for row in ordered], dtype=np.int64),
        names=prompt_names(classes, {}),
        unknown=(),
        test_fraction=0.0,
        problems=(),
        omitted=omissions.lines(),
        split=np.array([row.split for row in ordered], dtype=np.int8),
    )


def _refuse_contradiction(first: Row, second: Row) -> NoReturn:
    """Refuse two rows that say different things of one image."""
    image = f"{second.place}: {shortened(second.path)}"
    if first.label != second.label:
        raise DataError(
            f"data: {image} is '{shortened(second.label)}' here and '{shortened(first.label)}' in "
            f"{first.place}; one class for an image (several labels for one image cannot be "
            "learned)"
        )
    raise DataError(
        f"data: {image} is in {_where(second)} here and in {_where(first)} in {first.place}; keep "
        "one of the lines"
    )


def images_root(root: str | Path) -> Path:
    """The folder that a recipe's `data.root` names. Raises DataError where there is none."""
    folder = expand_home(root).resolve()
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {problem}; give the folder that paths start from")
    return folder


def table_path(root: Path, text: str) -> str:
    """`Index` path of a file that a table names, relative to `root` where it lies below it."""
    start = os.fspath(root)
    path = text.strip()
    if "\\" in path and not os.path.exists(os.path.join(start, path)):
        path = path.replace("\\", "/")
    whole = os.path.normpath(os.path.join(start, path))
    return whole.removeprefix(start.rstrip(os.sep) + os.sep).replace(os.sep, "/")


def shortened(text: str) -> str:
    """Text of a table as a message shows it: on one line, of bounded length."""
    line = printable(text, "utf-8")
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def is_number(label: str) -> bool:
    """Whether a label is the number of a class; longer digits are more than any class has."""
    return label.isdecimal() and len(label) < 19


def _where(row: Row) -> str:
    part = PART_NAMES.get(row.split, "no part of the split")
    return f"domain '{shortened(row.domain)}', {part}"


def _sorted_classes(names: set[str]) -> tuple[str, ...]:
    if all(map(is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _refuse_missing(root: Path, rows: Sequence[Row]) -> None:
    start = os.fspath(root)
    missing = [row for row in rows if not os.path.isfile(os.path.join(start, row.path))]
    if missing:
        shown = ", ".join(f"{row.place}: {shortened(row.path)}" for row in missing[:_SHOWN])
        more = ", ..." if len(missing) > _SHOWN else ""
        raise DataError(
            f"data: {len(missing)} of {len(rows)} files are not there ({shown}{more}); paths start "
            f"from {root}, set data.root where they start from another folder"
        )
