"""Text for a terminal, whatever names of files it holds."""

from edgedistill.errors import escape


def printable(text: str, encoding: str | None) -> str:
    """Text that cannot move the cursor, break the line or fail to print.

    Args:
        encoding: of the stream; ASCII when None. What it lacks becomes a backslash escape, as do
            control characters and the bytes of names that are not UTF-8.
    """
    encoding = encoding or "ascii"
    return escape(text).encode(encoding, "backslashreplace").decode(encoding)
