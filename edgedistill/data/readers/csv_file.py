"""Reader of a CSV file with a row per image: path, label and, if there are, domain and split."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from edgedistill._utils.home import expand_home
from edgedistill._utils.text_files import EncodingError, read_foreign_text
from edgedistill.data.index import NOT_GIVEN, Index
from edgedistill.data.readers.split_names import SPLIT_NAMES, split_part
from edgedistill.data.readers.table import Row, images_root, index_rows, shortened, table_path
from edgedistill.errors import DataError

SUFFIXES = frozenset({".csv", ".tsv"})
_DELIMITERS = (",", ";", "\t")
# What a column may be called; the first is its name in the documentation.
_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image"),
    "label": ("label", "class", "class_name"),
    "domain": ("domain",),
    "split": ("split", "subset"),
}
_SEVERAL = re.compile(r"[;|]|^[\[{]")


def read_csv(file: str | Path, root: str | Path | None = None) -> Index:
    """The images that a CSV file names, one a row, below a header.

    Columns `path` and `label`, and optionally `domain` and `split`, in any order and case; others
    are ignored. Separated by commas, semicolons or tabs; in UTF-8, UTF-16 or Windows-1252. Without
    a column of domains there is one, called by the name of the root.

    Args:
        file: the file.
        root: folder that relative paths start from; the file's own when None.

    Raises:
        DataError: a file that cannot be read, a column or value that is missing or has no such
            value, several labels for one image, or an image that is not there.
    """
    path = expand_home(file).resolve()
    folder = path.parent if root is None else images_root(root)
    header, lines = _read(path)
    column = _columns(path, header, lines)
    rows = [_row(path, folder, column, number, cells) for number, cells in lines]
    if not rows:
        raise DataError(f"data: {path} has no row below its header; add a row for every image")
    _refuse_joined_labels(rows)
    return index_rows(folder, rows)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the other rows with their line numbers; empty rows are left out."""
    try:
        text, _ = read_foreign_text(path)
    except (OSError, EncodingError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"data: {path}: cannot be read: {reason}") from error
    reader = csv.reader(io.StringIO(text), delimiter=_delimiter(text))
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"data: {path}: line {reader.line_num}: {error}") from error
    if not rows:
        raise DataError(f"data: {path} is empty; {_LAYOUT}")
    return [cell.strip() for cell in rows[0][1]], rows[1:]


_LAYOUT = "its first line names the columns: path,label and, if you have them, domain,split"


def _delimiter(text: str) -> str:
    """The delimiter that gives the first line most of the columns that are asked for."""
    header = text.lstrip().partition("\n")[0]
    names = {name for aliases in _COLUMNS.values() for name in aliases}

    def columns(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        return sum(cell.strip().casefold() in names for cell in cells), len(cells)

    return max(_DELIMITERS, key=columns)


def _columns(
    path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> dict[str, int]:
    """Position of each column; the optional ones may be missing."""
    folded = [cell.casefold() for cell in header]
    position: dict[str, int] = {}
    for name, aliases in _COLUMNS.items():
        columns = [number for number, cell in enumerate(folded) if cell in aliases]
        if len(columns) > 1:
            both = " and ".join(repr(header[number]) for number in columns)
            raise DataError(f"data: {path}: the columns {both} both say the {name}; keep one")
        if columns:
            position[name] = columns[0]
    if "label" not in position and "path" in position:
        _refuse_indicators(path, header, rows, set(position.values()))
    for name in ("path", "label"):
        if name not in position:
            raise DataError(
                f"data: {path} has no column {name!r}; it has {shortened(', '.join(header))}; "
                f"{_LAYOUT}"
            )
    return position


def _refuse_indicators(
    path: Path,
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    others: set[int],
) -> None:
    """Refuse a column of 0 and 1 per class."""
    indicators = [
        name
        for number, name in enumerate(header)
        if number not in others
        and rows
        and all(cells[number].strip() in ("0", "1") for _, cells in rows if number < len(cells))
    ]
    if len(indicators) > 1:
        more = ", ..." if len(indicators) > 3 else ""
        classes = shortened(", ".join(indicators[:3]))
        raise DataError(
            f"data: {path} has a column of 0 and 1 for each class ({classes}{more}); give one "
            "column 'label' with one class for an image (several labels for one image cannot be "
            "learned)"
        )


def _row(path: Path, root: Path, column: dict[str, int], number: int, cells: Sequence[str]) -> Row:
    place = f"{path}: line {number}"
    value = {
        name: cells[position].strip() if position < len(cells) else ""
        for name, position in column.items()
    }
    for name, text in value.items():
        if not text and name != "split":
            raise DataError(f"data: {place}: no {name}; fill it in, or drop the row")
    part = split_part(value["split"]) if value.get("split") else NOT_GIVEN
    if part is None:
        raise DataError(
            f"data: {place}: split '{shortened(value['split'])}' is none of "
            f"{', '.join(SPLIT_NAMES)}"
        )
    domain = value.get("domain", root.name or str(root))
    return Row(domain, value["label"], table_path(root, value["path"]), part, place)


def _refuse_joined_labels(rows: Sequence[Row]) -> None:
    """Refuse a label that is several: joined, or a list."""
    labels = {row.label for row in rows}
    for row in rows:
        parts = {part.strip() for part in row.label.split(",")}
        if _SEVERAL.search(row.label) or (len(parts) > 1 and parts <= labels):
            raise DataError(
                f"data: {row.place}: label '{shortened(row.label)}' looks like several; give "
                "one class for an image (several labels for one image cannot be learned), or "
                "rename the class"
            )
