"""Reader of folder trees `root/domain/class/*`; it lists files and opens none."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import (
    SYSTEM_FILES,
    Omissions,
    Reason,
    is_system_folder,
)
from edgedistill._utils.suggestions import choices
from edgedistill._utils.text_files import EncodingError, read_text
from edgedistill.data.index import Index
from edgedistill.errors import DataError
from edgedistill.runtime.preprocess import is_image

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


def read_folder(root: str | Path, names: Mapping[str, Sequence[str]] | None = None) -> Index:
    """List the images of `root/domain/class/*`, sorted by name at every level.

    Hidden entries and other files in the root are ignored; whatever else is left out is counted
    in `Index.omitted`. A class may be missing in some domains. An `edgedistill.json` in the root
    is honoured (`FolderDescription`).

    Args:
        root: the dataset's folder.
        names: class -> prompt names; overrides the description file. Classes in neither are
            called by their folder name with '_' read as a space.

    Raises:
        DataError: no such folder, no images at the right depth, a domain without images,
            a description that does not fit.
    """
    root = expand_home(root).resolve()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"data: {root} {problem}; give a folder with images in domain/class/ below it"
        )
    description = _read_description(root)
    omissions = Omissions()
    tree = _tree_of(root, omissions)
    _refuse_wrong_depth(root, tree)
    domains = _ordered_domains(root, list(tree), description.domains)
    classes = tuple(sorted({name for by_class in tree.values() for name in by_class}))
    label_of = {name: i for i, name in enumerate(classes)}

    paths: list[str] = []
    domain: list[int] = []
    label: list[int] = []
    for d, domain_name in enumerate(domains):
        for class_name, files in tree[domain_name].items():
            paths += [f"{domain_name}/{class_name}/{file}" for file in files]
            domain += [d] * len(files)
            label += [label_of[class_name]] * len(files)

    for name in (*description.names, *(names or ()), *description.unknown):
        if name not in label_of:
            raise DataError(f"data: {root} has no class {name!r}; {choices(name, classes)}")
    return Index(
        root=root,
        domains=domains,
        classes=classes,
        paths=tuple(paths),
        domain=np.array(domain, dtype=np.int64),
        label=np.array(label, dtype=np.int64),
        names=_prompt_names(classes, {**description.names, **(names or {})}),
        unknown=tuple(c for c in classes if c in set(description.unknown)),
        test_fraction=description.test_fraction,
        problems=(),
        omitted=omissions.lines(),
        instance_separator=description.instance_separator,
    )


def _read_description(root: Path) -> FolderDescription:
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
class _Listing:
    """Visible entries of a folder by kind, each sorted; system folders are left out."""

    folders: list[str]
    images: list[str]


def _list(folder: Path, shown: str = "", omissions: Omissions | None = None) -> _Listing:
    """List a folder; what is neither an image nor a folder is counted, called `shown`/name."""
    omissions = Omissions() if omissions is None else omissions
    listing = _Listing([], [])
    try:
        with os.scandir(folder) as entries:
            visible = sorted(
                (e for e in entries if not e.name.startswith(".")), key=lambda e: e.name
            )
    except OSError as error:
        raise DataError(f"data: cannot read {folder}: {error.strerror}") from error
    for entry in visible:
        path = f"{shown}/{entry.name}" if shown else entry.name
        try:
            mode = entry.stat().st_mode
        except OSError:
            omissions.add(Reason.LINK if entry.is_symlink() else Reason.DENIED, path)
            continue
        if stat.S_ISDIR(mode):
            if is_system_folder(entry.name):
                omissions.add(Reason.SYSTEM, path)
            else:
                listing.folders.append(entry.name)
        elif not stat.S_ISREG(mode):
            omissions.add(Reason.SPECIAL, path)
        elif is_image(entry.name):
            listing.images.append(entry.name)
        elif shown and entry.name.lower() not in SYSTEM_FILES:
            omissions.add(Reason.SUFFIX, path)
    return listing


def subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, sorted. Raises DataError if unreadable."""
    return _list(folder).folders


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, sorted. Raises DataError if unreadable."""
    return _list(folder).images


def _tree_of(root: Path, omissions: Omissions) -> dict[str, dict[str, list[str]]]:
    """Images by domain and class; classes without any are left out."""
    top = _list(root, "", omissions)
    for image in top.images:
        omissions.add(Reason.HIGHER, image)
    tree: dict[str, dict[str, list[str]]] = {}
    for domain in top.folders:
        middle = _list(root / domain, domain, omissions)
        for image in middle.images:
            omissions.add(Reason.HIGHER, f"{domain}/{image}")
        tree[domain] = {}
        for class_name in middle.folders:
            images = class_images(root, f"{domain}/{class_name}", omissions)
            if images:
                tree[domain][class_name] = images
    return tree


def class_images(root: Path, path: str, omissions: Omissions) -> list[str]:
    """Names of the images in a class folder, sorted; whatever else is in it is counted.

    Args:
        root: folder that `path` is relative to.

    Raises DataError if unreadable.
    """
    listing = _list(root / path, path, omissions)
    for deeper in listing.folders:
        _count_below(root / path, path, deeper, omissions)
    if not listing.images:
        omissions.add(Reason.EMPTY, path)
    return listing.images


def _count_below(folder: Path, shown: str, name: str, omissions: Omissions) -> None:
    """Count the images at any depth of a folder within a class folder."""
    if (folder / name).is_symlink():
        # May lead back to a folder above.
        omissions.add(Reason.LINKED_FOLDER, f"{shown}/{name}")
        return
    try:
        listing = _list(folder / name, f"{shown}/{name}", omissions)
    except DataError:
        omissions.add(Reason.DENIED, f"{shown}/{name}")
        return
    for image in listing.images:
        omissions.add(Reason.DEEPER, f"{shown}/{name}/{image}")
    for deeper in listing.folders:
        _count_below(folder / name, f"{shown}/{name}", deeper, omissions)


def _refuse_wrong_depth(root: Path, tree: Mapping[str, Mapping[str, list[str]]]) -> None:
    layout = "images belong in domain/class/file"
    if not tree:
        if images_in(root):
            raise DataError(f"data: images lie directly in {root}, two levels too high; {layout}")
        raise DataError(f"data: {root} is empty: no domain folder in it; {layout}")
    for domain, classes in tree.items():
        if classes:
            continue
        if images_in(root / domain):
            raise DataError(
                f"data: images lie directly in {root / domain}, one level too high; {layout}"
            )
        deep = next(_images_below(root / domain), None)
        if deep is not None:
            raise DataError(
                f"data: {deep} lies too deep below {root}; {layout}, so the root may be a folder "
                f"further down"
            )
        raise DataError(
            f"data: domain {domain!r} in {root} has no image; add images in {domain}/class/, "
            f"or remove the folder"
        )


def _images_below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(where) / f for f in sorted(files) if is_image(f))


def _ordered_domains(root: Path, folders: list[str], first: list[str]) -> tuple[str, ...]:
    for name in first:
        if name not in folders:
            raise DataError(
                f"data: {root / DESCRIPTION_FILE} names the domain {name!r}, which has no folder; "
                f"{choices(name, folders)}"
            )
    return (*first, *(name for name in folders if name not in first))


def _prompt_names(
    classes: Sequence[str], names: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    return {name: tuple(names.get(name) or (name.replace("_", " "),)) for name in classes}
