"""The caches of one recipe: filled before its runs, and checked byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedistill._utils.cache_dir import disk_bytes, remove_folder, size_text
from edgedistill.callbacks import Callback, CallbackList, LoggingCallback, reporting
from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store, replaced_files, store_folder
from edgedistill.data.unlabelled import list_unlabelled, open_unlabelled
from edgedistill.errors import CacheError, DamagedCacheError
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import as_recipe
from edgedistill.runs.caches import Cache, describe_cache
from edgedistill.runs.stages.check import rows_to_check
from edgedistill.runs.stages.prepare import find_teacher
from edgedistill.students import architecture
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.files import CacheFiles
from edgedistill.teacher.view_cache.plain import (
    locate_plain_cache,
    open_plain_cache,
    plain_disagreement,
)
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
    """The caches of a recipe; a teacher that it lacks is None.

    Attributes:
        unlabelled: images without labels that its runs train on, one index per entry.
        views: view caches, with the images that they are of; none where no views are stored.
        plain: embeddings of whole images, None without a teacher.
        stores: folders of decoded images, by the images and their side.
    """

    recipe: Recipe
    dataset: OpenSetSplit
    teacher: Teacher | None
    unlabelled: tuple[Index, ...]
    views: tuple[tuple[Index, CacheFiles], ...]
    plain: CacheFiles | None
    stores: tuple[tuple[Index, int, Path], ...]


def build_caches(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> list[Cache]:
    """Store the images and ask the teacher as a run of the recipe would.

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
        for index, size, _ in caches.stores:
            open_store(index, size)
        if dataset.unlabelled is not None:
            open_store(dataset.unlabelled, resolved.student.size)
        if not caches.views:
            active.on_note(f"{_no_views(resolved)}: no views are stored")
        if caches.teacher is not None:
            _ask_teacher(caches, caches.teacher, active)
    return _existing(caches)


def _ask_teacher(caches: _RecipeCaches, teacher: Teacher, active: CallbackList) -> None:
    recipe, dataset = caches.recipe, caches.dataset
    if caches.views:
        size = recipe.views.store_size
        parts = [open_store(dataset.index, size).images(dataset.split.train)]
        if caches.unlabelled:
            more, lines = open_unlabelled(recipe.data, dataset, size)
            parts += more
            for line in lines:
                active.on_warning(line)
        for part in parts:
            with active.progress("teacher views", "images") as update:
                open_cache(
                    _settings(recipe),
                    teacher,
                    part,
                    report=update,
                    waiting=lambda: active.on_note(
                        "other processes fill the rest; waiting for them"
                    ),
                )
    whole = open_store(dataset.index, teacher.size)
    probe, sources = rows_to_check(dataset)
    for name, rows in (
        ("training images", probe),
        ("source validation", sources),
        ("the target", dataset.target),
    ):
        images = whole.images(rows)
        open_plain_cache(teacher, images, batch=recipe.teacher.batch, name=f"teacher on {name}")


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

    Raises CacheError when another process is asking the teacher.
    """
    checks = []
    for check in _checks(_resolve(recipe, overrides), repair):
        checks.append(check)
        checked(check)
    return checks


def _checks(caches: _RecipeCaches, repair: bool) -> Iterator[CacheCheck]:
    sound: dict[Path, Store] = {}
    for index, size, folder in caches.stores:
        if not folder.exists():
            yield CacheCheck(folder, "missing", f"images at {size} px: not stored yet")
            continue
        try:
            store = Store(index, size, folder)
            fault = _store_fault(store, index)
        except DamagedCacheError as error:
            fault = error.fault
        if fault is not None:
            yield _damaged(fault, folder, repair)
            continue
        sound[folder] = store
        message = f"images at {size} px: {size_text(disk_bytes(folder))}, sound"
        yield CacheCheck(folder, "sound", message)
    if not caches.views:
        yield CacheCheck(None, "missing", f"{_no_views(caches.recipe)}: no view cache to check")
    teacher = caches.teacher
    if teacher is None:
        return
    folders = {(id(index), size): folder for index, size, folder in caches.stores}
    for index, views in caches.views:
        yield _check_embeddings(
            "views",
            views,
            index,
            sound.get(folders[id(index), caches.recipe.views.store_size]),
            partial(disagreement, _settings(caches.recipe), teacher, index),
            repair,
        )
    if caches.plain is not None:
        index = caches.dataset.index
        yield _check_embeddings(
            "plain images",
            caches.plain,
            index,
            sound.get(folders[id(index), teacher.size]),
            partial(plain_disagreement, teacher),
            repair,
        )


def _store_fault(store: Store, index: Index) -> str | None:
    """Fault of stored images whose files can be read; None if there is none."""
    for rows, fault in (
        (store.damaged_rows(), "pixels of {} images were edited"),
        (replaced_files(index, store.folder), "{} image files were replaced since"),
        (store.misdecoded_rows(), "{} image files of a sample decode to other pixels"),
    ):
        if len(rows):
            return f"{store.folder}: {fault.format(len(rows))}, first {index.paths[rows[0]]}"
    return None


def _check_embeddings(
    what: str,
    files: CacheFiles,
    index: Index,
    store: Store | None,
    distance_of: Callable[[Store, CacheFiles], float],
    repair: bool,
) -> CacheCheck:
    """The teacher's embeddings; `store` holds the images that it was shown, if they are sound."""
    if not files.folder.exists():
        return CacheCheck(files.folder, "missing", f"{what}: not computed yet")
    if cache_files.in_use(files.folder):
        raise CacheError(
            f"{files.folder}: another process is filling it; verify it when that has ended"
        )
    if fault := cache_files.validate(files):
        return _damaged(fault, files.folder, repair)
    hashes = files.pixel_hashes()
    done = np.flatnonzero(hashes)
    wrong = cache_files.damaged_rows(files, done)
    if len(wrong):
        message = (
            f"{files.embeddings_file}: the embeddings of {len(wrong)} images, first "
            f"{index.paths[wrong[0]]}"
        )
        if not repair:
            return CacheCheck(files.folder, "damaged", message)
        cache_files.invalidate(files, wrong)
        again = "forgotten; they are computed again when they are needed"
        return CacheCheck(files.folder, "damaged", message, again)
    stale = 0
    if store is not None:
        stale = int(np.count_nonzero(hashes[done] != store.hashes[done]))
        distance = distance_of(store, files)
        if distance > _TOLERANCE:
            message = (
                f"{files.folder}: the teacher's embeddings are {distance:.2g} (1 - cosine) from "
                "the cached ones"
            )
            return _damaged(message, files.folder, repair)
    more = f"; {stale} images changed since and are computed again when needed" if stale else ""
    message = (
        f"{what}: {len(done)} of {files.images} images, {size_text(disk_bytes(files.folder))}, "
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
    method = METHODS[recipe.method.name]
    needed = method.needs_teacher
    unlabelled: tuple[Index, ...] = ()
    if method.uses_unlabelled and recipe.train.steps:
        unlabelled = tuple(entry.index for entry in list_unlabelled(recipe.data, dataset))
    device = resolve_device(recipe.device)
    teacher = find_teacher(recipe.teacher, device, required=needed)
    sizes = {recipe.views.store_size, recipe.student.size}
    views: tuple[tuple[Index, CacheFiles], ...] = ()
    plain = None
    if teacher is not None:
        sizes.add(teacher.size)
        plain = locate_plain_cache(teacher, dataset.index.paths, recipe.teacher.batch)
        if needed and recipe.views.count:
            views = tuple(
                (index, locate_cache(_settings(recipe), teacher, index))
                for index in (dataset.index, *unlabelled)
            )
    stored = [(dataset.index, size) for size in sorted(sizes)]
    stored += [(index, recipe.views.store_size) for index in unlabelled]
    stores = tuple((index, size, store_folder(index, size)) for index, size in stored)
    return _RecipeCaches(recipe, dataset, teacher, unlabelled, views, plain, stores)


def _settings(recipe: Recipe) -> ViewCacheSettings:
    student = architecture(recipe.student.model)
    return ViewCacheSettings.of(recipe.views, recipe.teacher, (student.mean, student.std))


def _existing(caches: _RecipeCaches) -> list[Cache]:
    entries = [describe_cache("images", folder) for *_, folder in caches.stores if folder.exists()]
    entries += [
        describe_cache("views", views.folder) for _, views in caches.views if views.folder.exists()
    ]
    if caches.plain is not None and caches.plain.folder.exists():
        entries.append(describe_cache("plain", caches.plain.folder))
    return entries


def _no_views(recipe: Recipe) -> str:
    if not METHODS[recipe.method.name].needs_teacher:
        return f"{recipe.method.name} learns from no teacher"
    return "views.count = 0 asks the teacher as it trains"
