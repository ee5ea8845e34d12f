"""Listing of folders: their folders and images, sorted, and counts of whatever else is there."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edgedistill._utils.omissions import (
    SYSTEM_FILES,
    Omissions,
    Reason,
    is_system_folder,
)
from edgedistill.errors import DataError
from edgedistill.runtime.preprocess import is_image


@dataclass(frozen=True)
class Listing:
    """Visible entries of a folder by kind, each sorted; system folders are left out."""

    folders: list[str]
    images: list[str]


def list_folder(folder: Path, shown: str = "", omissions: Omissions | None = None) -> Listing:
    """List a folder; what is neither an image nor a folder is counted, called `shown`/name."""
    omissions = Omissions() if omissions is None else omissions
    listing = Listing([], [])
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
    return list_folder(folder).folders


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, sorted. Raises DataError if unreadable."""
    return list_folder(folder).images


def class_images(root: Path, path: str, omissions: Omissions) -> list[str]:
    """Names of the images in a class folder, sorted; whatever else is in it is counted.

    Args:
        root: folder that `path` is relative to.

    Raises DataError if unreadable.
    """
    listing = list_folder(root / path, path, omissions)
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
        listing = list_folder(folder / name, f"{shown}/{name}", omissions)
    except DataError:
        omissions.add(Reason.DENIED, f"{shown}/{name}")
        return
    for image in listing.images:
        omissions.add(Reason.DEEPER, f"{shown}/{name}/{image}")
    for deeper in listing.folders:
        _count_below(folder / name, f"{shown}/{name}", deeper, omissions)
