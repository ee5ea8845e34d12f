"""Copies of answered images in a folder for each class."""

import filecmp
import os
import shutil
from collections.abc import Collection
from pathlib import Path

UNKNOWN_FOLDER = "unknown"


def copy_sorted(
    image: str | Path, label: str | None, folder: str | Path, classes: Collection[str] = ()
) -> Path:
    """Copy an image to `folder`/LABEL/, that of an unknown class to `folder`/unknown/.

    Nothing is overwritten: where another image has the name, a number is added; a copy that is
    there already stays as it is.

    Args:
        image: the file.
        label: its class; None for unknown.
        folder: the folder of the classes' folders, which are made as they are needed.
        classes: all classes; where one is called "unknown", the folder of None is "_unknown".

    Returns:
        The copy.

    Raises OSError where it cannot be written.
    """
    unknown = f"_{UNKNOWN_FOLDER}" if UNKNOWN_FOLDER in classes else UNKNOWN_FOLDER
    target = Path(folder) / (unknown if label is None else _folder_name(label))
    target.mkdir(parents=True, exist_ok=True)
    source = Path(image)
    copy, number = target / source.name, 2
    while os.path.lexists(copy):
        if copy.is_file() and filecmp.cmp(source, copy, shallow=False):
            return copy
        copy = target / f"{source.stem}-{number}{source.suffix}"
        number += 1
    shutil.copy2(source, copy)
    return copy


def _folder_name(label: str) -> str:
    """A class as the name of one folder below another."""
    name = label.replace("/", "_").replace("\0", "_").strip()
    return name if name.strip(".") else f"_{name}"
