"""The cache folder, the disk space of a cache, and its removal."""

import os
import shutil
import uuid
from pathlib import Path

import platformdirs

from edgedistill.errors import CacheError

ENVIRONMENT = "EDGEDISTILL_CACHE"


def cache_dir() -> Path:
    """The user's cache folder for EdgeDistill, or $EDGEDISTILL_CACHE. It may not exist yet.

    Raises:
        CacheError: the user has no home directory, and EDGEDISTILL_CACHE does not say another.
    """
    override = os.environ.get(ENVIRONMENT)
    try:
        folder = Path(override or platformdirs.user_cache_dir("edgedistill")).expanduser()
    except RuntimeError as error:
        raise CacheError(
            f"cache: this user has no home directory ({error}); set {ENVIRONMENT} to a folder for "
            "the cache"
        ) from error
    return folder.resolve() if override else folder


def disk_bytes(folder: Path) -> int:
    """Bytes that a folder takes on the disk, without holes of sparse files; follows no links.

    Files that vanish while it counts are left out.
    """
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                status = os.lstat(os.path.join(where, name))
            except OSError:
                continue
            # POSIX counts blocks of 512 bytes whatever the file system's own are; Windows has none.
            total += 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
    return total


def remove_folder(folder: Path) -> int:
    """Remove a folder atomically (it is renamed first) and return the bytes that it freed.

    After a kill the rest has the name of a build's temporary folder, and is removed as such.

    Raises:
        CacheError: the file system refuses.
    """
    freed = disk_bytes(folder)
    doomed = folder.with_name(f".{folder.name}.tmp-{uuid.uuid4().hex}")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise CacheError(
            f"{folder}: cannot be removed: {error.strerror or error}; check who owns it"
        ) from error
    return freed


def size_text(count: int) -> str:
    """Bytes as a person reads them: 12.3 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
