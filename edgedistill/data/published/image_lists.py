"""HDG's image lists, the training, validation and test images of a domain.

A list is a text file of lines `domain/class/file label`; anything may stand before the domain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.home import expand_home
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import Hdg, Part, PublishedDataset, benchmarks, key
from edgedistill.data.readers.listing import subfolders
from edgedistill.errors import DataError

PARTS: tuple[Part, ...] = get_args(Part)
# How far below a root the lists may lie.
_DEPTH = 2


class Entry(NamedTuple):
    """One image of a list: its class and the name of its file."""

    class_name: str
    file: str


@dataclass(frozen=True)
class ImageList:
    """Contents of a list.

    Attributes:
        path: the file.
        entries: its images in the order of the file, each once.
        problems: one line per thing that is wrong with it.
    """

    path: Path
    entries: tuple[Entry, ...]
    problems: tuple[str, ...]


def find_lists(name: str, root: Path) -> Path | None:
    """The folder with a benchmark's lists, `root` itself or up to two levels below it."""
    facts = benchmarks()[name]
    if facts.hdg is None:
        return None
    names = {key(_file_name(facts, facts.hdg, d, part)) for d in facts.domains for part in PARTS}
    level = [root]
    for _ in range(_DEPTH + 1):
        for folder in level:
            if any(key(p.name) in names for p in folder.glob("*.txt")):
                return folder
        level = [f / c for f in level for c in subfolders(f) if facts.domain(c) is None]
    return None


def locate_lists(name: str, root: Path, lists: str | None) -> Path | None:
    """The folder of the lists that a recipe names, or that lie below the images.

    Raises:
        DataError: the recipe names a folder without any.
    """
    if lists is None:
        return find_lists(name, expand_home(root))
    folder = expand_home(lists)
    location = find_lists(name, folder) if folder.is_dir() else None
    if location is None:
        facts = benchmarks()[name]
        example = _file_name(facts, facts.hdg, facts.domains[0], "train") if facts.hdg else "none"
        raise DataError(
            f"data.lists: {folder} has no image list of {facts.title} (such as {example}); set it "
            "to the folder of HDG's lists, or leave it out"
        )
    return location


def read_list(name: str, folder: Path, domain: str, part: Part) -> ImageList | None:
    """One list with everything that is wrong with it; None when there is no such file."""
    facts = benchmarks()[name]
    assert facts.hdg is not None
    file_name = _file_name(facts, facts.hdg, domain, part)
    path = next((p for p in sorted(folder.glob("*.txt")) if key(p.name) == key(file_name)), None)
    if path is None:
        return None
    problems: list[str] = []
    entries: dict[Entry, int] = {}
    shifts: Counter[int] = Counter()
    try:
        lines = read_text(path).splitlines()
    except (OSError, EncodingError) as error:
        return ImageList(path, (), (f"cannot be read: {error}",))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, _, label = line.strip().rpartition(" ")
        parts = PurePosixPath(where.strip().replace("\\", "/")).parts[-3:]
        if len(parts) < 3 or not label.isdecimal():
            problems.append(f"line {number}: {line.strip()[:60]!r} is not domain/class/file label")
            continue
        class_name = facts.class_name(parts[1])
        if facts.domain(parts[0]) != domain:
            problems.append(f"line {number}: {parts[0]!r} is not {domain}")
        elif class_name is None:
            problems.append(f"line {number}: no class {parts[1]!r}")
        elif (entry := Entry(class_name, parts[2])) in entries:
            problems.append(f"line {number}: {where} is on line {entries[entry]} already")
        else:
            entries[entry] = number
            shifts[int(label) - facts.hdg.label_offset - facts.classes.index(class_name)] += 1
    problems += _label_problems(shifts, facts.hdg.label_offset)
    return ImageList(path, tuple(entries), tuple(problems))


def list_rows(index: Index, image_list: ImageList, domain: str) -> tuple[NDArray[np.int64], int]:
    """Rows of a list's images, ascending, and how many of its images are not on the disk."""
    row_of = file_rows(index, domain)
    rows = [row_of[entry] for entry in image_list.entries if entry in row_of]
    return np.array(sorted(rows), dtype=np.int64), len(image_list.entries) - len(rows)


def file_rows(index: Index, domain: str) -> dict[Entry, int]:
    """Row of every image of a domain."""
    return {
        Entry(index.classes[index.label[row]], PurePosixPath(index.paths[row]).name): row
        for row in np.flatnonzero(index.domain == index.domains.index(domain)).tolist()
    }


def load_lists(
    name: str, index: Index, folder: Path, needed: Sequence[tuple[str, Part]]
) -> dict[tuple[str, Part], NDArray[np.int64]]:
    """Rows of several lists, (domain, part) -> ascending rows.

    Raises:
        DataError: a list is missing or wrong, or an image of it is not on the disk.
    """
    rows: dict[tuple[str, Part], NDArray[np.int64]] = {}
    for domain, part in needed:
        image_list = read_list(name, folder, domain, part)
        if image_list is None:
            facts = benchmarks()[name]
            assert facts.hdg is not None
            raise DataError(
                f"data: {folder} has no {_file_name(facts, facts.hdg, domain, part)}; add the "
                "list, or set data.lists to a folder that has them all"
            )
        if image_list.problems:
            more = (
                f" (and {len(image_list.problems) - 1} more)"
                if len(image_list.problems) > 1
                else ""
            )
            raise DataError(
                f"data: {image_list.path}: {image_list.problems[0]}{more}; correct the list, or "
                "set data.lists to another copy"
            )
        rows[domain, part], absent = list_rows(index, image_list, domain)
        if absent:
            row_of = file_rows(index, domain)
            first = next(e for e in image_list.entries if e not in row_of)
            raise DataError(
                f"data: {absent} of the {len(image_list.entries)} images of {image_list.path} are "
                f"not in {index.root}, the first is {domain}/{first.class_name}/{first.file}; "
                "complete the copy of the data"
            )
    return rows


def _file_name(facts: PublishedDataset, hdg: Hdg, domain: str, part: Part) -> str:
    return hdg.lists[part].format(d=hdg.list_names[facts.domains.index(domain)])


def _label_problems(shifts: Counter[int], offset: int) -> list[str]:
    """Lines about labels that are not those of their class folders."""
    wrong = {shift: count for shift, count in shifts.items() if shift}
    if not wrong:
        return []
    if len(shifts) == 1:
        (shift,) = wrong
        return [f"labels start at {offset + shift}, those of the published list at {offset}"]
    return [f"the label of {sum(wrong.values())} lines is not that of the class folder"]
