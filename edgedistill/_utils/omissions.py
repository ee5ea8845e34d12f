"""Counts of what the listing of a folder leaves out, by reason."""

from collections.abc import Iterator
from enum import Enum

# Made by network storage, archivers and operating systems beside a person's files.
SYSTEM_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_EXAMPLES = 3


class Reason(Enum):
    """Reason for leaving an entry out; the value says what is counted."""

    DEEPER = "images in deeper folders"
    HIGHER = "images above the class folders"
    SUFFIX = "files whose suffix is no image format's"
    LINK = "links that lead nowhere or in a circle"
    LINKED_FOLDER = "links to folders"
    SPECIAL = "pipes, sockets and devices"
    DENIED = "entries without permission"
    EMPTY = "class folders without an image"
    IMAGELESS = "folders beside those of the split, without an image"
    SYSTEM = "system folders"
    LISTS = "image lists beside the folders"
    REPEATED = "repeated lines"


class Omissions:
    """Entries left out so far."""

    def __init__(self) -> None:
        self._entries: dict[Reason, list[str]] = {}

    def add(self, reason: Reason, entry: str) -> None:
        """Count an entry, called by its path relative to the folder that is listed."""
        self._entries.setdefault(reason, []).append(entry)

    def lines(self) -> tuple[str, ...]:
        """`reason: number (examples)` for every reason, in the order of `Reason`."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        for reason in Reason:
            entries = self._entries.get(reason)
            if entries:
                more = ", ..." if len(entries) > _EXAMPLES else ""
                yield f"{reason.value}: {len(entries)} ({', '.join(entries[:_EXAMPLES])}{more})"


def is_system_folder(name: str) -> bool:
    """Whether a folder is made by a system, not by a person."""
    return name.lower() in SYSTEM_FOLDERS
