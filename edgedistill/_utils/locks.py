"""Exclusive advisory locks on files, between processes and between machines that share a folder.

A thin layer over `filelock`, which asks the kernel (`flock`, `LockFileEx`): the kernel frees the
lock of a process that dies. Where a file system has no `flock`, filelock falls back to a marker
file (since version 3.24).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from edgedistill.errors import EdgeDistillError


@contextmanager
def lock(
    path: Path, error: type[EdgeDistillError], advice: str, *, wait: bool = True
) -> Iterator[bool]:
    """Hold the lock of a file, which is created where it does not exist, until the block ends.

    Args:
        path: the lock file; its folder must exist.
        error: the kind of error where the file cannot be locked.
        advice: what the user can do then, the end of the message.
        wait: wait for another holder; False yields at once.

    Yields:
        Whether the lock is held; always True with `wait`.

    Raises:
        error: the lock file cannot be created, opened or locked.
    """
    file_lock = FileLock(path)
    try:
        file_lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as failure:
        reason = failure.strerror or failure
        raise error(f"{path.parent}: cannot be written: {reason}; {advice}") from failure
    try:
        yield True
    finally:
        file_lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; True as well where that cannot be found out.

    A file that does not exist is not created.
    """
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
