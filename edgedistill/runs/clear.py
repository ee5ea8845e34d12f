"""The function `edgedistill.clear_caches`. By name it needs no torch, by recipe it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill._utils.extras import needs_extra
from edgedistill.errors import UsageError
from edgedistill.runs.caches import Cache, list_caches, remove_caches

if TYPE_CHECKING:
    from edgedistill.recipe import Recipe


def clear_caches(
    which: str | Path | Recipe | Mapping[str, Any] | None,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    removed: Callable[[Cache], None] = lambda cache: None,
) -> list[Cache]:
    """Remove caches; runs make what they need again.

    Args:
        which: what a recipe uses (a path that ends in .toml, a `Recipe` or a dictionary), the
            cache whose name begins so, or all caches when None.
        overrides: fields of the recipe to change.
        removed: is called with each cache as soon as it is gone.

    Returns:
        What was removed.

    Raises:
        UsageError: a name fits no cache or several.
        CacheError: another process is building some of the caches, which are left as they are,
            while the rest is removed.
    """
    return remove_caches(_choose(which, overrides), removed)


def _choose(
    which: str | Path | Recipe | Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | Sequence[str],
) -> list[Cache]:
    if which is None:
        return list_caches()
    if not isinstance(which, str | Path) or Path(which).suffix == ".toml":
        with needs_extra("train", "the caches of a recipe"):
            from edgedistill.runs.recipe_caches import recipe_caches
        return recipe_caches(which, overrides)
    name = str(which)
    chosen = [cache for cache in list_caches() if name and cache.name.startswith(name)]
    if len(chosen) != 1:
        raise UsageError(
            f"cache clear {name}: {len(chosen) or 'no'} caches are called so; `edgedistill "
            "cache info` lists them, and a recipe's name ends in .toml"
        )
    return chosen
