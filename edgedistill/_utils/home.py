"""The home directory in a path that a person gave."""

import os
from pathlib import Path


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` as that home directory.

    Where nobody has such a home the path stays as it is, for the caller's check to say that it is
    not there; `Path.expanduser` raises RuntimeError.
    """
    return Path(os.path.expanduser(path))
