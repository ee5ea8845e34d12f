"""From what a recipe calls a dataset to its images."""

from pathlib import Path

from edgedistill.data.emoji import load_emoji
from edgedistill.data.folder import read_folder
from edgedistill.data.index import ImageIndex
from edgedistill.errors import EdgeDistillError

EMBEDDED = "emoji"


def load_dataset(name_or_root: str | Path) -> ImageIndex:
    """The images of "emoji" (the embedded benchmark) or of a folder tree `domain/class/*`.

    A folder of the current directory that happens to be called emoji is reached as `./emoji`.

    Raises:
        EdgeDistillError: neither a folder nor the name of an embedded dataset.
    """
    if name_or_root == EMBEDDED:
        return load_emoji()
    if not Path(name_or_root).expanduser().exists():
        raise EdgeDistillError(
            f"data: {str(name_or_root)!r} is neither a folder nor an embedded dataset; give a "
            f"folder with images in domain/class/ below it, or {EMBEDDED!r}"
        )
    return read_folder(name_or_root)
