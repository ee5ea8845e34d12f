"""States of image files, which tell whether a file is the one that was decoded.

A store's name follows from sizes and times of modification. Files that were swapped, or replaced by
others of equal size and time, show in their inodes or times of change; these also differ after a
harmless `chmod`, and from mount to mount on some file systems. So where they differ, the first and
last bytes of the file decide.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.index import Index

_SIZE, _MODIFIED, _CHANGED, _INODE = range(4)
# Bytes of each end of a file that are compared: more than the headers that two pictures share.
_END = 4096


def file_states(index: Index) -> NDArray[np.uint64]:
    """Size, time of modification, time of change and inode of each file, uint64 `[N, 4]`.

    Times are in ns; a file that is not there has zeros.
    """
    states = np.zeros((len(index), 4), np.uint64)
    root = os.fspath(index.root)
    for row, path in enumerate(index.paths):
        try:
            stat = os.stat(os.path.join(root, path))
        except OSError:
            continue
        values = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        states[row] = [value % 2**64 for value in values]
    return states


def hash_states(states: NDArray[np.uint64]) -> list[str]:
    """A line for each file, of its size and time of modification alone."""
    return [
        f"{size}/{modified}" if changed else "missing"
        for size, modified, changed in states[:, :_INODE].tolist()
    ]


def hash_ends(path: Path) -> int:
    """64-bit hash of the first and last bytes of a file; 0 where it cannot be read."""
    try:
        with open(path, "rb") as file:
            first = file.read(_END)
            file.seek(max(os.fstat(file.fileno()).st_size - _END, 0))
            digest = hashlib.blake2b(first + file.read(_END), digest_size=8).digest()
    except OSError:
        return 0
    return max(int.from_bytes(digest, "little"), 1)


def replaced_rows(
    index: Index,
    states: NDArray[np.uint64],
    recorded: NDArray[np.uint64],
    ends: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Rows whose files are other ones than were decoded, int64 `[n]`.

    Args:
        states, recorded: `file_states` now, and as they were.
        ends: uint64 `[N]`, `hash_ends` as they were.
    """
    differs = (states[:, _CHANGED:] != recorded[:, _CHANGED:]).any(1) & (ends != 0)
    rows = np.flatnonzero(differs)
    replaced = [row for row in rows.tolist() if hash_ends(index.path(row)) != int(ends[row])]
    return np.array(replaced, dtype=np.int64)
