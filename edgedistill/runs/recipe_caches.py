"""The caches of one recipe: filled before its runs, and checked byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedistill._utils.cache_dir import disk_bytes, remove_folder, size_text
from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store, store_folder
from edgedistill.errors import CacheError, DamagedCacheError
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import as_recipe, teacher_model
from edgedistill.runs.caches import Cache, describe_cache
from edgedistill.students import architecture
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.files import CacheFiles
from edgedistill.teacher.view_cache.settings import (
    ViewCacheSettings,
    disagreement,
    locate_cache,
    open_cache,
)
from edgedistill.train.device import resolve_device

# Half precision moves a unit vector by 1e-7 in this measure, another device's arithmetic by 1e-5.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CacheCheck:
    """The result of checking one cache.

    Attributes:
        folder: the cache's; None where the recipe has no such cache.
        state: "sound", "missing" (not made yet, or not used by the recipe) or "damaged".
        message: the state in words.
        repair: what was done about damage, in words; empty where nothing was.
    """

    folder: Path | None
    state: Literal["sound", "missing", "damaged"]
    message: str
    repair: str = ""


@dataclass(frozen=True)
class _RecipeCaches:
    """The caches of a recipe; `teacher` and `views` are None if it caches no views."""

    recipe: Recipe
    dataset: OpenSetSplit
    teacher: Teacher | None
    views: CacheFiles | None
    stores: dict[int, Path]


def build_caches(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> list[Cache]:
    """Store the images and fill the view cache as a run of the recipe would.

    Args:
        recipe: a TOML file, a `Recipe`, or its sections as nested dictionaries.
        overrides: fields of it to change.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Returns:
        The caches that runs of the recipe share.

    Raises RecipeError, DataError, WeightsError or CacheError for what cannot be had or written.
    """
    with reporting([LoggingCallback()] if callbacks is None else callbacks) as active:
        caches = _resolve(recipe, overrides)
        resolved, dataset = caches.recipe, caches.dataset
        for size in caches.stores:
            open_store(dataset.index, size)
        if caches.teacher is None:
            active.on_note(f"{_no_views(resolved)}: only the images are stored")
            return _existing(caches)
        store = open_store(dataset.index, resolved.views.store_size)
        with active.progress("teacher views", "images") as update:
            open_cache(
                _settings(resolved),
                caches.teacher,
                store.images(dataset.split.train),
                report=update,
                waiting=lambda: active.on_note("other processes fill the rest; waiting for them"),
            )
    return _existing(caches)


def recipe_caches(
    recipe: str | Path | Recipe | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> list[Cache]:
    """The caches there are of those that a recipe uses."""
    return _existing(_resolve(recipe, overrides))


def verify_caches(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    repair: bool = False,
    checked: Callable[[CacheCheck], None] = lambda check: None,
) -> list[CacheCheck]:
    """Check every byte of the caches that a recipe uses.

    Args:
        recipe: a TOML file, a `Recipe`, or its sections as nested dictionaries.
        overrides: fields of it to change.
        repair: drop what is damaged, so that it is made again when it is needed.
        checked: is called with each check as soon as it is done.

    Raises CacheError when another process is filling the view cache.
    """
    checks = []
    for check in _checks(_resolve(recipe, overrides), repair):
        checks.append(check)
        checked(check)
    return checks


def _checks(caches: _RecipeCaches, repair: bool) -> Iterator[CacheCheck]:
    sound: dict[int, Store] = {}
    index = caches.dataset.index
    for size, folder in caches.stores.items():
        if not folder.exists():
            yield CacheCheck(folder, "missing", f"images at {size} px: not stored yet")
            continue
        try:
            store = Store(index, size, folder)
            wrong = store.damaged_rows()
        except DamagedCacheError as error:
            yield _damaged(error.fault, folder, repair)
            continue
        if len(wrong):
            first = index.paths[wrong[0]]
            message = f"{folder}: pixels of {len(wrong)} images were edited, first {first}"
            yield _damaged(message, folder, repair)
            continue
        sound[size] = store
        message = f"images at {size} px: {size_text(disk_bytes(folder))}, sound"
        yield CacheCheck(folder, "sound", message)
    if caches.teacher is None or caches.views is None:
        yield CacheCheck(None, "missing", f"{_no_views(caches.recipe)}: no view cache to check")
    elif not caches.views.folder.exists():
        yield CacheCheck(caches.views.folder, "missing", "views: not computed yet")
    elif cache_files.in_use(caches.views.folder):
        raise CacheError(
            f"{caches.views.folder}: another process is filling it; verify it when that has ended"
        )
    elif fault := cache_files.validate(caches.views):
        yield _damaged(fault, caches.views.folder, repair)
    else:
        cut_from = sound.get(caches.recipe.views.store_size)
        yield _check_views(caches, caches.teacher, caches.views, cut_from, repair)


def _check_views(
    caches: _RecipeCaches,
    teacher: Teacher,
    files: CacheFiles,
    store: Store | None,
    repair: bool,
) -> CacheCheck:
    """The embeddings; `store` holds the images that views are cut from, if they are sound."""
    index = caches.dataset.index
    hashes = files.pixel_hashes()
    done = np.flatnonzero(hashes)
    wrong = cache_files.damaged_rows(files, done)
    if len(wrong):
        message = (
            f"{files.folder / cache_files.EMBEDDINGS}: the embeddings of {len(wrong)} "
            f"images, first {index.paths[wrong[0]]}"
        )
        if not repair:
            return CacheCheck(files.folder, "damaged", message)
        cache_files.invalidate(files, wrong)
        again = "forgotten; they are computed again when they are needed"
        return CacheCheck(files.folder, "damaged", message, again)
    stale = 0
    if store is not None:
        stale = int(np.count_nonzero(hashes[done] != store.hashes[done]))
        distance = disagreement(_settings(caches.recipe), teacher, index, store, files)
        if distance > _TOLERANCE:
            message = (
                f"{files.folder}: the teacher's embeddings are {distance:.2g} (1 - cosine) from "
                "the cached ones"
            )
            return _damaged(message, files.folder, repair)
    more = f"; {stale} images changed since and are computed again when needed" if stale else ""
    message = (
        f"views: {len(done)} of {files.images} images, {size_text(disk_bytes(files.folder))}, "
        f"sound{more}"
    )
    return CacheCheck(files.folder, "sound", message)


def _damaged(message: str, folder: Path, repair: bool) -> CacheCheck:
    if not repair:
        return CacheCheck(folder, "damaged", message)
    remove_folder(folder)
    return CacheCheck(
        folder, "damaged", message, f"removed {folder}; it is built again when it is needed"
    )


def _resolve(
    source: str | Path | Recipe | Mapping[str, Any], overrides: Mapping[str, Any] | Sequence[str]
) -> _RecipeCaches:
    recipe = as_recipe(source, overrides)
    dataset = resolve_split(recipe.data)
    teacher = None
    if METHODS[recipe.method.name].needs_teacher and recipe.views.count:
        device = resolve_device(recipe.device)
        model = teacher_model(recipe.teacher)
        teacher = load_teacher(model, recipe.teacher.pretrained, device)
    sizes = {recipe.views.store_size, recipe.student.size}
    sizes |= {teacher.size} if teacher else set()
    return _RecipeCaches(
        recipe,
        dataset,
        teacher,
        locate_cache(_settings(recipe), teacher, dataset.index) if teacher else None,
        {size: store_folder(dataset.index, size) for size in sorted(sizes)},
    )


def _settings(recipe: Recipe) -> ViewCacheSettings:
    student = architecture(recipe.student.model)
    return ViewCacheSettings.of(recipe.views, recipe.teacher, (student.mean, student.std))


def _existing(caches: _RecipeCaches) -> list[Cache]:
    entries = [
        describe_cache("images", folder) for folder in caches.stores.values() if folder.exists()
    ]
    if caches.views is not None and caches.views.folder.exists():
        entries.append(describe_cache("views", caches.views.folder))
    return entries


def _no_views(recipe: Recipe) -> str:
    if not METHODS[recipe.method.name].needs_teacher:
        return f"{recipe.method.name} learns from no teacher"
    return "views.count = 0 asks the teacher as it trains"
