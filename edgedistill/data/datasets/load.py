"""Images of a dataset, by its registered name or by a folder."""

import inspect
import unicodedata
from collections.abc import Callable
from pathlib import Path

from edgedistill._utils.home import expand_home
from edgedistill._utils.printable import printable
from edgedistill._utils.suggestions import choices
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import DataError
from edgedistill.registries import DATASETS

# Unicode categories: lone surrogates (bytes that are not UTF-8), control characters, line and
# paragraph separators.
_NEITHER_TEXT_NOR_LINE = {"Cs", "Cc", "Zl", "Zp"}


def load_dataset(name_or_root: str | Path, root: str | Path | None = None) -> Index:
    """The images of a registered dataset, or of a tree `domain/class/*`.

    A folder of the current directory that has the name of a dataset is reached as `./emoji`.

    Args:
        name_or_root: a name in `DATASETS`, or a folder.
        root: the user's copy, of a dataset whose function has a parameter `root`.

    Raises:
        DataError: neither a folder nor a name, a dataset that lacks a root or takes none, or a
            name of a domain or class that is not UTF-8 or holds a control character.
    """
    index = _read(name_or_root, root)
    _refuse_names("domain", index.domains)
    _refuse_names("class", index.classes)
    return index


def _read(name_or_root: str | Path, root: str | Path | None) -> Index:
    reader = DATASETS.get(name_or_root) if isinstance(name_or_root, str) else None
    parameter = None if reader is None else _root_parameter(reader)
    if root is not None and parameter is None:
        with_root = [name for name, entry in DATASETS.items() if _root_parameter(entry)]
        raise DataError(
            f"data.root: only for {', '.join(with_root)}; {str(name_or_root)!r} needs none"
        )
    if reader is None:
        return _read_tree(name_or_root)
    if root is not None:
        return reader(root)
    if parameter is not None and parameter.default is parameter.empty:
        raise DataError(f"data.root: {name_or_root!r} needs one; set it to your copy of the images")
    return reader()


def _read_tree(root: str | Path) -> Index:
    if not expand_home(root).exists():
        raise DataError(
            f"data: {str(root)!r} is neither a folder nor a dataset; give a folder with images in "
            f"domain/class/ below it, or a name; {choices(str(root), list(DATASETS))}"
        )
    return read_folder(root)


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
