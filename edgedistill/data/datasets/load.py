"""Images of a dataset, by its registered name, a folder or a CSV file."""

import inspect
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import Omissions, Reason
from edgedistill._utils.printable import printable
from edgedistill._utils.suggestions import choices
from edgedistill.data.index import Index
from edgedistill.data.layouts import LayoutKind, layout_kind, read_layout
from edgedistill.data.readers.lists import find_lists
from edgedistill.data.spelling import merge_spellings
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection
from edgedistill.registries import DATASETS

# Unicode categories: lone surrogates (bytes that are not UTF-8), control characters, line and
# paragraph separators.
_NEITHER_TEXT_NOR_LINE = {"Cs", "Cc", "Zl", "Zp"}


def load_dataset(
    name_or_path: str | Path,
    root: str | Path | None = None,
    layout: LayoutKind | Literal["auto"] = "auto",
) -> Index:
    """The images of a registered dataset, or of a folder or CSV file in one of the layouts.

    A folder of the current directory that has the name of a dataset is reached as `./emoji`.

    Args:
        name_or_path: a name in `DATASETS`, a folder, or a CSV file.
        root: the user's copy, of a dataset whose function has a parameter `root`; or the folder
            that the paths of a CSV file or of image lists start from.
        layout: how a folder is read, a key of `edgedistill.data.layouts.LAYOUTS`.

    Raises:
        DataError: neither a path nor a name, a layout that does not fit, a dataset that lacks a
            root or takes none, or a name of a domain or class that is not UTF-8 or holds a control
            character.
    """
    index = _read(name_or_path, root, layout)
    _refuse_names("domain", index.domains)
    _refuse_names("class", index.classes)
    return index


def load_index(data: DataSection) -> Index:
    """The images of a recipe's section [data]. Raises DataError, see `load_dataset`."""
    index = load_dataset(data.dataset, data.root, data.layout)
    return merge_spellings(index) if data.merge_spellings else index


def _read(
    name_or_path: str | Path, root: str | Path | None, layout: LayoutKind | Literal["auto"]
) -> Index:
    reader = DATASETS.get(name_or_path) if isinstance(name_or_path, str) else None
    if reader is None:
        return _read_path(name_or_path, root, layout)
    if layout != "auto":
        raise DataError(
            f"data.layout: only for a folder or a .csv file; {name_or_path!r} is a dataset's name; "
            f"for a folder of that name write './{name_or_path}'"
        )
    parameter = _root_parameter(reader)
    if root is not None and parameter is None:
        _refuse_root(name_or_path)
    if root is not None:
        return reader(root)
    if parameter is not None and parameter.default is parameter.empty:
        raise DataError(f"data.root: {name_or_path!r} needs one; set it to your copy of the images")
    return reader()


def _read_path(
    path: str | Path, root: str | Path | None, layout: LayoutKind | Literal["auto"]
) -> Index:
    if not expand_home(path).exists():
        raise DataError(
            f"data: {str(path)!r} is neither a folder, a .csv file nor a dataset; give a folder "
            f"with images in class/ or domain/class/ below it, or a name; "
            f"{choices(str(path), list(DATASETS))}"
        )
    kind = layout_kind(path) if layout == "auto" else layout
    if kind in ("csv", "lists"):
        return read_layout(path, kind, root)
    if root is not None:
        _refuse_root(path)
    index = read_layout(path, kind)
    return _without_lists(index) if layout == "auto" else index


def _without_lists(index: Index) -> Index:
    """The index of a folder, with the image lists in it counted, which are not read."""
    omissions = Omissions()
    for list_file in find_lists(index.root):
        omissions.add(Reason.LISTS, list_file.path.name)
    return replace(index, omitted=(*index.omitted, *omissions.lines()))


def _refuse_root(name_or_path: str | Path) -> NoReturn:
    with_root = [name for name, entry in DATASETS.items() if _root_parameter(entry)]
    raise DataError(
        f"data.root: only for {', '.join(with_root)}, CSV files and image lists; "
        f"{str(name_or_path)!r} needs none"
    )


def _refuse_names(kind: str, names: tuple[str, ...]) -> None:
    """Refuse what tables, plots and exported files could not show."""
    for name in names:
        categories = {unicodedata.category(character) for character in name}
        if categories & _NEITHER_TEXT_NOR_LINE:
            problem = "is not UTF-8" if "Cs" in categories else "holds a control character"
            raise DataError(
                f"data: the name of the {kind} '{printable(name, 'utf-8')}' {problem}; rename it"
            )


def _root_parameter(reader: Callable[..., Index]) -> inspect.Parameter | None:
    return inspect.signature(reader).parameters.get("root")
