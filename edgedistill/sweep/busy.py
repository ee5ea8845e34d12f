"""Whether somebody is at work on a run."""

from pathlib import Path

from filelock import FileLock, Timeout


def busy(folder: Path) -> bool:
    """True while another process, on this machine or another, holds the lock of a run's folder."""
    path = folder / ".lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
