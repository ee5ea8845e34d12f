"""Parts of a document that a script writes, between two equal marks such as `<!-- results -->`."""

from pathlib import Path

from edgedistill._utils.atomic import write_text
from edgedistill.errors import EdgeDistillError


def between(text: str, mark: str, content: str, where: str) -> str:
    """`text` with `content` on lines of its own between the two `mark`s.

    The rest stays as it is, other marks included. Raises EdgeDistillError that names `where` when
    the mark is not there exactly twice.
    """
    parts = text.split(mark)
    if len(parts) != 3:
        raise EdgeDistillError(
            f"{where}: has the mark {mark} {len(parts) - 1} times; put it before and after the "
            "part to write"
        )
    # Spaces at its beginning stay: they may be those of a block of code.
    body = content.rstrip().lstrip("\n")
    return f"{parts[0]}{mark}\n{body}\n{mark}{parts[2]}"


def write_between(path: Path, mark: str, content: str) -> None:
    """Put `content` between the marks of a UTF-8 file. Raises EdgeDistillError as `between`."""
    write_text(path, between(path.read_text(encoding="utf-8"), mark, content, str(path)))
