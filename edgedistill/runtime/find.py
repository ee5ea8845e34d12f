"""Image files that paths, folders and glob patterns stand for."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edgedistill import callbacks
from edgedistill._utils.omissions import SYSTEM_FILES, Omissions, Reason, is_system_folder
from edgedistill.errors import DataError
from edgedistill.runtime.preprocess import is_image

Report = Callable[[str], None]


def find_images(
    sources: Iterable[str | Path],
    on_problem: Report | None = None,
    on_omission: Report | None = None,
) -> Iterator[str]:
    """Paths of image files, one by one, for `Classifier.stream` and `Classifier.predict`.

    Args:
        sources: files (any name is taken), folders (their images at any depth, sorted at every
            level), and glob patterns. An existing file is itself, even with brackets in its name.
        on_problem: called with a line on every source that gives no image; without it the first
            such line is raised.
        on_omission: called with a line on every folder of which something was left out, with the
            counts by reason; `callbacks.current().on_warning` without it.

    Raises:
        DataError: a source gives no image, and `on_problem` is None.

    Examples:
        >>> list(ed.find_images(["x.jpg", "*.jpg"]))
        ['x.jpg', 'x.jpg']
    """
    problem = _raise if on_problem is None else on_problem
    omission = callbacks.current().on_warning if on_omission is None else on_omission
    for source in sources:
        name = os.fspath(source)
        matches = [name]
        if glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                problem(f"{name}: nothing matches")
        for match in matches:
            if not os.path.isdir(match):
                yield match
            # `**` matches the folders as well as what lies in them.
            elif len(matches) == 1 or "**" not in name:
                yield from _in_folder(match, problem, omission)


def walk_images(
    folder: str, omissions: Omissions, on_denied: Callable[[OSError], None]
) -> Iterator[str]:
    """Paths of the image files of a folder, at any depth, sorted at every level.

    Args:
        folder: the folder; every path begins with it.
        omissions: counts what is left out, by the path from `folder`.
        on_denied: called for every folder that cannot be read.
    """
    for parent, folders, files in os.walk(folder, onerror=on_denied):
        visible = sorted(name for name in folders if not name.startswith("."))
        folders.clear()
        for name in visible:
            path = os.path.join(parent, name)
            if is_system_folder(name):
                omissions.add(Reason.SYSTEM, os.path.relpath(path, folder))
            elif os.path.islink(path):
                # May lead back to a folder above.
                omissions.add(Reason.LINKED_FOLDER, os.path.relpath(path, folder))
            else:
                folders.append(name)
        for name in sorted(files):
            path = os.path.join(parent, name)
            if is_image(name):
                yield path
            elif not name.startswith(".") and name.lower() not in SYSTEM_FILES:
                omissions.add(Reason.SUFFIX, os.path.relpath(path, folder))


def _in_folder(folder: str, problem: Report, omission: Report) -> Iterator[str]:
    empty = True
    omissions = Omissions()

    def denied(error: OSError) -> None:
        nonlocal empty
        empty = False
        problem(f"{error.filename}: {error.strerror}")

    for path in walk_images(folder, omissions, denied):
        empty = False
        yield path
    omitted = "; ".join(omissions.lines())
    if empty:
        problem(f"{folder}: no image files in this folder{omitted and f', but {omitted}'}")
    elif omitted:
        omission(f"{folder}: left out {omitted}")


def _raise(line: str) -> None:
    raise DataError(line)
