"""Exclusive advisory locks on files, between processes and between machines that share a folder.

A thin layer over `filelock`, which asks the kernel (`flock`, `LockFileEx`): the kernel frees the
lock of a process that dies. Where a file system has no locks, marker files stand in for them, and
one line says so.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from edgedistill import callbacks
from edgedistill.errors import EdgeDistillError

# Answers of file systems without locks: some network mounts, FUSE and overlays.
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
# By device, as `os.stat` numbers file systems: whether this process can lock files there.
_has_locks: dict[int, bool] = {}


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
    try:
        file_lock = _file_lock(path)
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
    if not path.exists() and not _marker(path).exists():
        return False
    try:
        with _file_lock(path).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _file_lock(path: Path) -> BaseFileLock:
    device = os.stat(path.parent).st_dev
    if device not in _has_locks:
        failure = _try_lock(path.parent)
        _has_locks[device] = failure is None
        if failure is not None:
            callbacks.current().on_warning(
                f"{path.parent}: this file system has no locks ({failure.strerror}); marker files "
                f"stand in for them: if a machine that used it died, remove {_marker(path).name}"
            )
    return FileLock(path) if _has_locks[device] else SoftFileLock(_marker(path))


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _try_lock(folder: Path) -> OSError | None:
    """Lock a file of its own, so that no other process is kept waiting; the reason for no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    probe = folder / f".lock.{uuid.uuid4().hex}.tmp"
    with probe.open("xb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            return failure if failure.errno in _WITHOUT_LOCKS else None
        finally:
            with suppress(OSError):
                probe.unlink()
    return None
