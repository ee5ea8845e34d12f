"""Folders that are either complete or absent, whoever builds them and whatever kills the build."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgedistill.errors import EdgeDistillError


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return `target`, calling `build(temporary folder)` first when it does not exist.

    The temporary folder lies beside the target and takes its name by one rename, so a reader
    never sees half a result. A second process waits for the first one's lock and then finds the
    target there; where the file system has no locks both build and the first rename wins.
    Leftovers of killed builds are removed by the next build.

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
                for left in target.parent.glob(f".{target.name}.tmp-*"):
                    shutil.rmtree(left, ignore_errors=True)
            _build_and_rename(target, build)
    except OSError as error:
        raise EdgeDistillError(
            f"cache: cannot write {target}: {error.strerror or error}; "
            f"free some space, or set EDGEDISTILL_CACHE to a folder you can write"
        ) from error
    return target


def _build_and_rename(target: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    try:
        # mkdtemp makes the folder private; a cache may be shared as far as the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        build(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on `path`; yields False where the platform cannot lock."""
    with open(path, "a") as handle:
        yield _try_flock(handle)


def _try_flock(handle: IO[str]) -> bool:
    try:
        import fcntl

        # Released by the kernel when the process ends, so a kill leaves no stale lock.
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return False
    return True
