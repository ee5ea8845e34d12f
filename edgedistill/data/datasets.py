"""From what a recipe calls a dataset to its images."""

from pathlib import Path

from edgedistill.data.emoji.dataset import load_emoji
from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.published.tree import read_benchmark
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import DataError

EMBEDDED = "emoji"


def load_dataset(name_or_root: str | Path, root: str | Path | None = None) -> Index:
    """The images of "emoji" (embedded), of a published benchmark, or of a tree `domain/class/*`.

    A folder of the current directory that has the name of one of them is reached as `./emoji`.

    Args:
        name_or_root: "emoji", a benchmark's name ("pacs", ...), or a folder.
        root: where a benchmark lies.

    Raises:
        EdgeDistillError: neither a folder nor a name, or a benchmark without a root.
    """
    if name_or_root in benchmarks():
        name = str(name_or_root)
        if root is None:
            raise DataError(
                f"data.root: {benchmarks()[name].title} is not part of this package; set "
                "data.root to your copy of it"
            )
        return read_benchmark(name, root)
    if root is not None:
        raise DataError(
            f"data.root: only for {', '.join(benchmarks())}; {str(name_or_root)!r} needs none"
        )
    if name_or_root == EMBEDDED:
        return load_emoji()
    if not Path(name_or_root).expanduser().exists():
        raise DataError(
            f"data: {str(name_or_root)!r} is neither a folder nor an embedded dataset; give a "
            f"folder with images in domain/class/ below it, or one of {EMBEDDED}, "
            f"{', '.join(benchmarks())}"
        )
    return read_folder(name_or_root)
