"""A file whose bytes are read at any position, by any number of threads."""

import os
from pathlib import Path
from threading import Lock


class ByteFile:
    """An open file that is read and not mapped.

    Pages of a mapped file count as memory of the process once they were touched, so a pass over
    a large store would look, and to a container's limit be, as large as the store. An open file
    also stays what it was when another process replaces it.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when it cannot be opened."""
        self.path = path
        # Open as long as the object lives; closed with it.
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._lock = Lock()

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer where the file ends."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)
