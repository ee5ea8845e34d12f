"""Reader of image lists: text files of lines `path label`, one for each domain and part of a split.

A list is called by its domain and part, as `art_painting_train_kfold.txt` or `sketch_test.txt`, or
by the part alone, as `train.txt`. Labels are class names, or numbers; numbers get the names of the
folders that the images lie in, or the lines of a `classes.txt` beside the lists.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgedistill._utils.home import expand_home
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.data.index import TEST, VAL, Index
from edgedistill.data.readers.split_names import split_part
from edgedistill.data.readers.table import (
    Row,
    images_root,
    index_rows,
    is_number,
    shortened,
    table_path,
)
from edgedistill.errors import DataError

CLASSES_FILE = "classes.txt"
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class ListFile:
    """A list by its name: the domain before the part, "" where there is none, and the part."""

    path: Path
    domain: str
    split: int


@dataclass(frozen=True)
class _Line:
    list_file: ListFile
    path: str
    label: str
    place: str


def find_lists(folder: Path) -> list[ListFile]:
    """The lists in a folder: text files whose names have the name of a part of a split, sorted."""
    lists = []
    for path in sorted(folder.glob("*.txt")):
        for word in _WORDS.finditer(path.stem):
            part = VAL if word[0].casefold() == "crossval" else split_part(word[0])
            if part is not None and path.is_file():
                lists.append(ListFile(path, path.stem[: word.start()].strip(" _-."), part))
                break
    return lists


def read_lists(folder: str | Path, root: str | Path | None = None) -> Index:
    """The images of the lists in a folder, in the given split.

    A test list that has all other images of its domain and no more, as PACS's, is that of a domain
    that is left out; the images are then those of the other lists. Where all lists have one domain
    and their paths are domain/class/file, the domains are those of the paths.

    Args:
        folder: where the lists lie.
        root: folder that relative paths start from; when None the lists' own, or the one above if
            the first image is there.

    Raises:
        DataError: no list, a line that is no image and label, an image in two lists, labels that
            contradict each other, or an image that is not there.
    """
    where = expand_home(folder).resolve()
    if not where.is_dir():
        problem = "is a file" if where.exists() else "does not exist"
        raise DataError(f"data: {where} {problem}; give the folder of the image lists")
    lists = find_lists(where)
    if not lists:
        raise DataError(
            f"data: {where} has no image list; lists are called by domain and part, such as "
            "photo_train.txt, or train.txt"
        )
    lines = [line for list_file in lists for line in _read(list_file)]
    if not lines:
        raise DataError(f"data: the image lists in {where} are empty; fill them in")
    start = _root(where, lines[0].path) if root is None else images_root(root)
    names = _class_names(where, lines)
    rows = [
        Row(
            domain,
            names[line.label],
            table_path(start, line.path),
            line.list_file.split,
            line.place,
        )
        for line, domain in zip(lines, _domains(start, lines, names), strict=True)
    ]
    return index_rows(start, _without_whole_tests(rows))


def _read(list_file: ListFile) -> list[_Line]:
    try:
        text = read_text(list_file.path)
    except (OSError, EncodingError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"data: {list_file.path}: cannot be read: {reason}") from error
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        path, *labels = line.strip().rsplit(maxsplit=1) or [""]
        if not path:
            continue
        place = f"{list_file.path}: line {number}"
        if not labels:
            raise DataError(
                f"data: {place}: '{shortened(path)}' is not 'path label'; "
                "write the image's class after its path"
            )
        lines.append(_Line(list_file, path, labels[0], place))
    return lines


def _root(folder: Path, path: str) -> Path:
    above = folder.parent

    def has_image(start: Path) -> bool:
        return os.path.isfile(start / table_path(start, path))

    return above if not has_image(folder) and has_image(above) else folder


def _class_names(folder: Path, lines: Sequence[_Line]) -> dict[str, str]:
    """Label in the lists -> class name."""
    labels = dict.fromkeys(line.label for line in lines)
    if not all(map(is_number, labels)):
        return {label: label for label in labels}
    file = folder / CLASSES_FILE
    if file.is_file():
        return _listed_names(file, labels)
    folders = defaultdict(set)
    for line in lines:
        folders[line.label].add(_folder(line.path))
    first = {label: next(iter(names)) for label, names in folders.items()}
    one_to_one = all(len(names) == 1 for names in folders.values())
    if one_to_one and len(set(first.values())) == len(first) and all(first.values()):
        return first
    return {label: label for label in labels}


def _listed_names(file: Path, labels: Iterable[str]) -> dict[str, str]:
    """Names by number from a file with one a line, `name`, `number name` or `name number`."""
    try:
        lines = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    except (OSError, EncodingError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"data: {file}: cannot be read: {reason}") from error
    names: dict[int, str] = {}
    for number, line in enumerate(lines):
        first, _, rest = line.partition(" ")
        start, _, last = line.rpartition(" ")
        if is_number(first) and rest:
            names[int(first)] = rest.strip()
        elif is_number(last) and start:
            names[int(last)] = start.strip()
        else:
            names[number] = line
    for label in labels:
        if int(label) not in names:
            raise DataError(f"data: {file} has no name for the label {label}; add it")
    return {label: names[int(label)] for label in labels}


def _domains(root: Path, lines: Sequence[_Line], names: Mapping[str, str]) -> list[str]:
    """The domain of each line: its list's, or that of its path, or the root's name."""
    of_lists = [line.list_file.domain or root.name or str(root) for line in lines]
    if len(set(of_lists)) > 1:
        return of_lists
    of_paths = [_folder(line.path, 2) for line in lines]
    in_class_folders = all(_folder(line.path) == names[line.label] for line in lines)
    several = len(set(of_paths)) > 1 and all(of_paths)
    if in_class_folders and several and any(split_part(name) is None for name in set(of_paths)):
        return of_paths
    return of_lists


def _without_whole_tests(rows: Sequence[Row]) -> list[Row]:
    """The rows without the test lists that have all images of their domain's other lists."""
    paths: defaultdict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for row in rows:
        paths[row.domain][row.split == TEST].add(row.path)
    whole = {domain for domain, (others, tests) in paths.items() if tests == others}
    return [row for row in rows if row.split != TEST or row.domain not in whole]


def _folder(path: str, level: int = 1) -> str:
    """Name of the folder that a file lies in, or of one further up; "" where there is none."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return parts[-1 - level] if len(parts) > level else ""
