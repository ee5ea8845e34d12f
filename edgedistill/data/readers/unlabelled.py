"""Reader of a folder of images without classes; it lists files and opens none."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from edgedistill._utils.home import expand_home
from edgedistill._utils.omissions import Omissions
from edgedistill.data.index import Index
from edgedistill.errors import DataError
from edgedistill.runtime.find import walk_images


def read_unlabelled(root: str | Path, key: str = "data.target") -> Index:
    """The images of a folder at any depth, sorted at every level, as one domain without classes.

    The domain has the folder's name, and every label is -1.

    Args:
        root: the folder.
        key: of the recipe, which messages begin with.

    Raises DataError: no such folder, no image in it, or a part of it that cannot be read.
    """
    folder = expand_home(root).resolve()
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{key}: {folder} {problem}; give a folder with images")

    def refuse_unreadable(error: OSError) -> NoReturn:
        raise DataError(f"{key}: cannot read {error.filename}: {error.strerror}")

    omissions = Omissions()
    paths = tuple(
        Path(os.path.relpath(path, folder)).as_posix()
        for path in walk_images(str(folder), omissions, refuse_unreadable)
    )
    if not paths:
        raise DataError(f"{key}: no image in {folder}; give a folder with images")
    return Index(
        root=folder,
        domains=(folder.name or str(folder),),
        classes=(),
        paths=paths,
        domain=np.zeros(len(paths), dtype=np.int64),
        label=np.full(len(paths), -1, dtype=np.int64),
        names={},
        unknown=(),
        test_fraction=0.0,
        problems=(),
        omitted=omissions.lines(),
    )
