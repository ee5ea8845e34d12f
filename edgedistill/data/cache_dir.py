"""Where everything that can be rebuilt is kept."""

import os
from pathlib import Path

import platformdirs

ENVIRONMENT = "EDGEDISTILL_CACHE"


def cache_dir() -> Path:
    """The user's cache folder for EdgeDistill, or $EDGEDISTILL_CACHE. It may not exist yet."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return Path(override).expanduser().resolve()
    return Path(platformdirs.user_cache_dir("edgedistill"))
