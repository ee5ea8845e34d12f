"""Folders that are either complete or absent, whoever builds them and whatever kills the build."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgedistill.errors import CacheError


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return `target`, calling `build(temporary folder)` first when it does not exist.

    The temporary folder lies beside the target and takes its name by one rename, so a reader
    never sees half a result. A second process waits for the first one's lock and then finds the
    target there; where the file system has no locks both build and the first rename wins.
    A build that fails or is interrupted removes what it made; what a killed one left is removed by
    the next build beside it, whatever it builds.

    Raises:
        EdgeDistillError: the cache folder cannot be written (no space, no permission).
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(f".{target.name}.lock")) as locked:
            if target.is_dir():
                return target
            if locked:
                _clear_leftovers(target)
            _build_and_rename(target, build)
    except OSError as error:
        raise CacheError(
            f"cache: cannot write {target}: {error.strerror or error}; "
            f"free some space, or set EDGEDISTILL_CACHE to a folder you can write"
        ) from error
    return target


def _build_and_rename(target: Path, build: Callable[[Path], None]) -> None:
    # Named before it is made, and made inside `try`: a signal at any moment finds the way to the
    # clean-up. `tempfile.mkdtemp` may be interrupted after making a folder, before naming it.
    temporary = target.with_name(f".{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
        build(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        try:
            shutil.rmtree(temporary, ignore_errors=True)
        except BaseException:
            # A signal, the second one perhaps, that arrived while cleaning up.
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _clear_leftovers(target: Path) -> None:
    """Remove what killed builds left in the target's parent; the caller holds the target's lock."""
    for left in target.parent.glob(".*.tmp-*"):
        name = left.name[1:].rpartition(".tmp-")[0]
        if name == target.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with contextlib.suppress(OSError), open(left.with_name(f".{name}.lock"), "a") as handle:
            # Whoever still builds it holds its lock.
            if _try_flock(handle, wait=False):
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on `path`; yields False where the platform cannot lock."""
    with open(path, "a") as handle:
        yield _try_flock(handle)


def _try_flock(handle: IO[str], wait: bool = True) -> bool:
    try:
        import fcntl

        # Released by the kernel when the process ends, so a kill leaves no stale lock.
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True
