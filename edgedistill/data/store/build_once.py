"""Folders that are either complete or absent, also after a kill and between processes."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from edgedistill._utils.cache_dir import remove_folder
from edgedistill._utils.locks import is_locked, lock
from edgedistill.errors import CacheError

ADVICE = "free some space, or set EDGEDISTILL_CACHE to a folder you can write"


def build_once(
    target: Path,
    build: Callable[[Path], None],
    is_stale: Callable[[Path], bool] = lambda folder: False,
) -> Path:
    """A folder, built by `build(temporary folder)` first where it does not exist.

    One that `is_stale` is removed and built again; who has its files open goes on with them.

    The temporary folder lies beside the target and takes its name by one rename, so a reader
    never sees half a result. A second process waits for the first one's lock and then finds the
    target there.
    A build that fails or is interrupted removes what it made; what a killed one left is removed by
    the next build beside it.

    Raises:
        CacheError: the cache folder cannot be written (no space, no permission).
    """
    if target.is_dir() and not is_stale(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock(_lock_file(target), CacheError, ADVICE):
            if target.is_dir():
                # Another process may have built it meanwhile.
                if not is_stale(target):
                    return target
                remove_folder(target)
            _clear_leftovers(target)
            _build_and_rename(target, build)
    except OSError as error:
        raise CacheError(
            f"cache: cannot write {target}: {error.strerror or error}; {ADVICE}"
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
            # Some file systems lock within one machine only: another one has been first.
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
    for leftover in target.parent.glob(".*.tmp-*"):
        name = leftover.name[1:].rpartition(".tmp-")[0]
        # A build that is at work holds its lock.
        if name == target.name or not is_locked(_lock_file(leftover.with_name(name))):
            shutil.rmtree(leftover, ignore_errors=True)


def _lock_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")
