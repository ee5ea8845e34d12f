"""Reader of folder trees of every depth: class/*, domain/class/* and either below a given split.

It lists files and opens none.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import Omissions, Reason
from edgedistill._utils.suggestions import choices
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.data.index import NOT_GIVEN, Index
from edgedistill.data.readers.listing import class_images, images_in, list_folder
from edgedistill.data.readers.split_names import SPLIT_NAMES, split_part
from edgedistill.errors import DataError
from edgedistill.runtime.preprocess import is_image

FolderLayout = Literal["domain/class", "class", "split/class", "split/domain/class"]
DESCRIPTION_FILE = "edgedistill.json"


class FolderDescription(BaseModel):
    """Contents of `edgedistill.json` in a dataset's root.

    `domains` fixes the order of the domain folders, `names` gives classes the words a prompt may
    use, `unknown` the classes that are unknown by default, `test_fraction` the share of instances
    reserved for the target test. With the `instance_separator` "#" the images clip7#1.jpg and
    clip7#2.jpg of a class show one instance, which a split keeps on one side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    domains: list[str] = Field(default_factory=list)
    names: dict[str, list[str]] = Field(default_factory=dict)
    unknown: list[str] = Field(default_factory=list)
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    instance_separator: str = ""


def read_folder(
    root: str | Path,
    names: Mapping[str, Sequence[str]] | None = None,
    layout: FolderLayout = "domain/class",
) -> Index:
    """List the images of a tree, sorted by name at every level.

    Hidden entries and other files in the root are ignored; whatever else is left out is counted
    in `Index.omitted`. A class may be missing in some domains and parts. Without a level of domains
    there is one domain, called by the root's name. An `edgedistill.json` in the root is honoured
    (`FolderDescription`).

    Args:
        root: the dataset's folder.
        names: class -> prompt names; overrides the description file. Classes in neither are
            called by their folder name with '_' read as a space.
        layout: the folders between the root and the images, from above; those of a split are called
            by the names of `SPLIT_NAMES`.

    Raises:
        DataError: no such folder, no images at the right depth, a domain or part without images,
            a description that does not fit.
    """
    root = expand_home(root).resolve()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data: {root} {problem}; give a folder with images in {layout}/ below it")
    description = read_description(root)
    omissions = Omissions()
    levels = layout.split("/")
    folders = _class_folders(root, levels, omissions)
    domains = tuple(dict.fromkeys(folder.domain for folder in folders))
    domains = _ordered_domains(root, domains, description.domains)
    folders.sort(key=lambda folder: (domains.index(folder.domain), folder.name, folder.split))
    classes = tuple(sorted({folder.name for folder in folders}))
    for name in (*description.names, *(names or ()), *description.unknown):
        if name not in classes:
            raise DataError(f"data: {root} has no class {name!r}; {choices(name, classes)}")
    label_of = {name: number for number, name in enumerate(classes)}
    counts = [len(folder.files) for folder in folders]
    return Index(
        root=root,
        domains=domains,
        classes=classes,
        paths=tuple(f"{folder.path}/{file}" for folder in folders for file in folder.files),
        domain=np.repeat(np.array([domains.index(f.domain) for f in folders], np.int64), counts),
        label=np.repeat(np.array([label_of[f.name] for f in folders], np.int64), counts),
        names=prompt_names(classes, {**description.names, **(names or {})}),
        unknown=tuple(c for c in classes if c in set(description.unknown)),
        test_fraction=description.test_fraction,
        problems=(),
        omitted=omissions.lines(),
        instance_separator=description.instance_separator,
        split=np.repeat(np.array([f.split for f in folders], np.int8), counts),
    )


def read_description(root: Path) -> FolderDescription:
    """The description file of a root, empty where there is none. Raises DataError."""
    path = root / DESCRIPTION_FILE
    if not path.is_file():
        return FolderDescription()
    try:
        return FolderDescription.model_validate_json(read_text(path))
    except EncodingError as error:
        raise DataError(f"data: {path}: {error}") from error
    except OSError as error:
        raise DataError(f"data: {path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        allowed = list(FolderDescription.model_fields)
        hint = f"; {choices(where, allowed)}" if first["type"] == "extra_forbidden" else ""
        raise DataError(f"data: {path}: {where}: {first['msg']}{hint}") from error


@dataclass(frozen=True)
class _ClassFolder:
    """Images of one class folder; `path` is relative to the root, `split` a part of `Index`."""

    domain: str
    name: str
    split: int
    path: str
    files: tuple[str, ...]


def _class_folders(root: Path, levels: Sequence[str], omissions: Omissions) -> list[_ClassFolder]:
    """The class folders that have images. Raises DataError where folders above them have none."""
    *above, _ = levels
    parents = list(_folders_at(root, "", len(above), omissions))
    if levels[0] == "split":
        parents = list(_parts_of_split(root, parents, omissions))
    class_folders = []
    for parent in parents:
        names = dict(zip(above, parent.split("/"), strict=True)) if above else {}
        split = _part_of(root, names["split"]) if "split" in names else NOT_GIVEN
        domain = names.get("domain", root.name or str(root))
        listing = list_folder(root / parent, parent, omissions)
        for image in listing.images:
            omissions.add(Reason.HIGHER, _joined(parent, image))
        for name in listing.folders:
            path = _joined(parent, name)
            files = class_images(root, path, omissions)
            if files:
                class_folders.append(_ClassFolder(domain, name, split, path, tuple(files)))
    _refuse_wrong_depth(root, levels, parents, class_folders)
    _refuse_second_names(root, levels, parents)
    return class_folders


def _parts_of_split(root: Path, parents: Sequence[str], omissions: Omissions) -> Iterator[str]:
    """The paths that begin with a part of a split; others without an image are counted."""
    imageless: dict[str, bool] = {}
    for parent in parents:
        top = parent.partition("/")[0]
        if split_part(top) is None:
            if top not in imageless:
                imageless[top] = next(_images_below(root / top), None) is None
                if imageless[top]:
                    omissions.add(Reason.IMAGELESS, top)
            if imageless[top]:
                continue
        yield parent


def _folders_at(root: Path, path: str, depth: int, omissions: Omissions) -> Iterator[str]:
    """Paths of the folders `depth` levels below one; images above them are counted."""
    if depth == 0:
        yield path
        return
    listing = list_folder(root / path, path, omissions)
    for image in listing.images:
        omissions.add(Reason.HIGHER, _joined(path, image))
    for name in listing.folders:
        yield from _folders_at(root, _joined(path, name), depth - 1, omissions)


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _part_of(root: Path, name: str) -> int:
    part = split_part(name)
    if part is None:
        raise DataError(
            f"data: the folder {name!r} in {root} is no part of a split; "
            f"{choices(name, list(SPLIT_NAMES))}; rename it, or set data.layout"
        )
    return part


def _refuse_second_names(root: Path, levels: Sequence[str], parents: Sequence[str]) -> None:
    """Refuse two folders for one part of a split."""
    if levels[0] != "split":
        return
    name_of: dict[int, str] = {}
    for name in dict.fromkeys(parent.partition("/")[0] for parent in parents):
        first = name_of.setdefault(_part_of(root, name), name)
        if first != name:
            raise DataError(
                f"data: {root} has {first!r} and {name!r}, two folders for one part of the split; "
                "join them"
            )


def _refuse_wrong_depth(
    root: Path,
    levels: Sequence[str],
    parents: Sequence[str],
    class_folders: Sequence[_ClassFolder],
) -> None:
    layout = f"images belong in {'/'.join(levels)}/file"
    with_images = {folder.path.rpartition("/")[0] for folder in class_folders}
    if not parents and images_in(root):
        raise DataError(
            f"data: images lie directly in {root}, {_TOO_HIGH[len(levels)]} too high; {layout}"
        )
    for parent in parents:
        if parent in with_images:
            continue
        folder = root / parent
        if images_in(folder):
            raise DataError(f"data: images lie directly in {folder}, one level too high; {layout}")
        deep = next(_images_below(folder), None)
        if deep is not None:
            raise DataError(
                f"data: {deep} lies too deep below {root}; {layout}, so the root may be a folder "
                f"further down"
            )
        if parent:
            raise DataError(
                f"data: {levels[len(levels) - 2]} {parent!r} in {root} has no image; add images in "
                f"{parent}/class/, or remove the folder"
            )
    if not class_folders:
        raise DataError(f"data: {root} is empty: no {levels[0]} folder in it; {layout}")


_TOO_HIGH = {1: "one level", 2: "two levels", 3: "three levels"}


def _images_below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(where) / f for f in sorted(files) if is_image(f))


def _ordered_domains(root: Path, domains: Sequence[str], first: Sequence[str]) -> tuple[str, ...]:
    for name in first:
        if name not in domains:
            raise DataError(
                f"data: {root / DESCRIPTION_FILE} names the domain {name!r}, which has no folder; "
                f"{choices(name, domains)}"
            )
    return (*first, *(name for name in sorted(domains) if name not in first))


def prompt_names(
    classes: Sequence[str], names: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """The words a prompt may use for each class: those given, or its name with '_' as a space."""
    return {name: tuple(names.get(name) or (name.replace("_", " "),)) for name in classes}
