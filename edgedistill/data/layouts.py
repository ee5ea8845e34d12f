"""Layouts of a dataset: how domains, classes and parts of a split are written down on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from edgedistill._utils.home import expand_home
from edgedistill.data.index import TRAIN, Index
from edgedistill.data.readers import csv_file, lists
from edgedistill.data.readers.folder import FolderLayout, read_description, read_folder
from edgedistill.data.readers.listing import list_folder
from edgedistill.data.readers.split_names import PART_NAMES, split_part
from edgedistill.errors import DataError

LayoutKind = Literal[FolderLayout, "csv", "lists"]
LAYOUTS = MappingProxyType(
    {
        "domain/class": "domain/class/image",
        "class": "class/image",
        "split/class": "train/class/image, with val/ and test/ beside train/",
        "split/domain/class": "train/domain/class/image, with val/ and test/ beside train/",
        "csv": "a .csv file of path,label and, if there are, domain,split",
        "lists": "text files such as train.txt or photo_train.txt of lines 'path label'",
    }
)
# Folders below the root that are looked into.
_DEPTH = 4


@dataclass(frozen=True)
class Layout:
    """How a dataset lies on the disk.

    Attributes:
        path: the folder or file.
        kind: a key of `LAYOUTS`.
        why: what was seen that says so, a sentence without a full stop.
        domains, classes: names, sorted.
        splits: parts of a given split that have images, of "train", "val" and "test".
    """

    path: Path
    kind: LayoutKind
    why: str
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]


def detect_layout(path: str | Path, root: str | Path | None = None) -> Layout:
    """The layout of a folder, a CSV file or a folder of image lists; no image is opened.

    Args:
        path: the folder or file.
        root: folder that the paths of a CSV file or of lists start from.

    Raises DataError: nothing of the kind, or something that can be read in two ways.
    """
    whole = expand_home(path).resolve()
    kind, why = _kind(whole)
    index = read_layout(whole, kind, root)
    present = np.unique(index.split).tolist()
    splits = tuple(name for part, name in PART_NAMES.items() if part in present)
    return Layout(whole, kind, why, tuple(sorted(index.domains)), index.classes, splits)


def layout_kind(path: str | Path) -> LayoutKind:
    """The kind of a path's layout, from the names of folders and files alone. Raises DataError."""
    return _kind(expand_home(path).resolve())[0]


def read_layout(path: str | Path, kind: LayoutKind, root: str | Path | None = None) -> Index:
    """The images of a folder or file in a layout.

    Args:
        path: the folder or file.
        kind: its layout.
        root: folder that the paths of a CSV file or of lists start from; folders have none.

    Raises DataError: see the readers.
    """
    if kind == "csv":
        return csv_file.read_csv(path, root)
    if kind == "lists":
        return lists.read_lists(path, root)
    return read_folder(path, layout=kind)


@dataclass(frozen=True)
class _Folder:
    """Number of images in a folder, and its folders."""

    images: int
    folders: dict[str, "_Folder"] = field(default_factory=dict)

    def depths(self) -> frozenset[int]:
        """How many folders below this one images lie; 0 for itself."""
        below = {1 + depth for folder in self.folders.values() for depth in folder.depths()}
        return frozenset(below | {0} if self.images else below)


def _survey(folder: Path, depth: int = _DEPTH) -> _Folder:
    listing = list_folder(folder)
    folders = {} if depth == 0 else {n: _survey(folder / n, depth - 1) for n in listing.folders}
    return _Folder(len(listing.images), folders)


def _kind(path: Path) -> tuple[LayoutKind, str]:
    """The layout of a path and what was seen that says so."""
    if not path.exists():
        raise DataError(f"data: {path} does not exist; {_layouts()}")
    if path.is_file():
        if path.suffix.lower() in csv_file.SUFFIXES:
            return "csv", f"{path.name} is a table"
        raise DataError(f"data: {path} is a file; give a folder or a .csv file; {_layouts()}")
    survey = _survey(path)
    depths = {name: folder.depths() for name, folder in survey.folders.items()}
    depths = {name: below for name, below in depths.items() if below}
    if not depths:
        return _without_folders(path, survey)
    if read_description(path).domains:
        return "domain/class", "edgedistill.json names the domains"
    if all(split_part(name) is not None for name in depths):
        return _split_kind(path, survey, depths)
    kind, why = _depth_kind(path, depths)
    if kind == "domain/class":
        _refuse_inner_split(path, survey)
    return kind, why


def _without_folders(path: Path, survey: _Folder) -> tuple[LayoutKind, str]:
    files = lists.find_lists(path)
    if files:
        return "lists", f"there are image lists, such as {files[0].path.name}, and no image folders"
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in csv_file.SUFFIXES)
    if tables:
        raise DataError(
            f"data: {path} has no folder with images, but {tables[0].name}; did you mean "
            f"{tables[0]}?"
        )
    if survey.images:
        raise DataError(
            f"data: images lie directly in {path}, without folders for their classes; {_layouts()}"
        )
    # Refused by the reader, which looks for images further down.
    return "domain/class", "there is no image"


def _split_kind(
    path: Path, survey: _Folder, depths: Mapping[str, frozenset[int]]
) -> tuple[LayoutKind, str]:
    names = ", ".join(depths)
    if TRAIN not in map(split_part, depths):
        raise DataError(
            f"data: {path} has the folders {names} of a split, but none for training; add train/, "
            "or set data.layout where they are classes or domains"
        )
    for name, below in depths.items():
        if below == {0}:
            train = next(other for other in depths if split_part(other) == TRAIN)
            raise DataError(
                f"data: images lie directly in {path / name}, without folders for their classes; "
                f"sort them into classes, or give {path / train} as the dataset and {path / name} "
                "as data.target, whose images need no classes"
            )
    inner = {
        f"{name}/{below}": folder.depths()
        for name in depths
        for below, folder in survey.folders[name].folders.items()
        if folder.depths()
    }
    kind, why = _depth_kind(path, inner)
    why = f"the folders {names} are parts of a split, and {why}"
    return ("split/class" if kind == "class" else "split/domain/class"), why


def _depth_kind(
    path: Path, depths: Mapping[str, frozenset[int]]
) -> tuple[Literal["class", "domain/class"], str]:
    """Whether folders are classes or domains, by how deep below each of them images lie."""
    first = next(iter(depths))
    if all(1 in below for below in depths.values()):
        return "domain/class", f"images lie in folders of folders, such as those in {first}"
    if all(0 in below for below in depths.values()):
        return "class", f"images lie in the folders themselves, such as {first}"
    flat = [name for name, below in depths.items() if 0 in below and 1 not in below]
    deep = [name for name, below in depths.items() if 1 in below and 0 not in below]
    if flat and deep:
        raise DataError(
            f"data: {path}: images lie in {flat[0]} itself but in folders of {deep[0]}, so it is "
            f"not clear whether these are classes or domains; move the images, or set data.layout "
            "to 'class' or 'domain/class'"
        )
    return "domain/class", f"images lie in folders of folders, such as those in {first}"


def _refuse_inner_split(path: Path, survey: _Folder) -> None:
    """Refuse parts of a split below the domains, which would be read as classes."""
    inner = {
        (domain, name)
        for domain, folder in survey.folders.items()
        for name, below in folder.folders.items()
        if below.depths()
    }
    names = {name for _, name in inner}
    if len(names) > 1 and TRAIN in map(split_part, names) and None not in map(split_part, names):
        domain, name = min(inner)
        raise DataError(
            f"data: {path / domain / name}: parts of a split lie above the domains, as in "
            f"{name}/{domain}/class/image; move them, or list the images in a .csv file with a "
            "column split"
        )


def _layouts() -> str:
    return f"the layouts are {'; '.join(LAYOUTS.values())}"
