"""`edgedistill cache build`, `verify`, and `clear` of what one recipe uses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from edgedistill._utils.cache_dir import disk_bytes, remove_folder
from edgedistill._utils.console import Display
from edgedistill.cli.cache import Entry, describe, remove, size_text
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store, store_folder
from edgedistill.errors import EdgeDistillError, UsageError
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe, load_recipe
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.files import CacheFiles
from edgedistill.teacher.view_cache.recipe import build_for, disagreement, files_for
from edgedistill.train.device import resolve_device

# Half precision moves a unit vector by 1e-7 in this measure, another device's arithmetic by 1e-5.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Caches:
    """What a recipe uses; `teacher` and `views` are None if it caches no views."""

    recipe: Recipe
    dataset: OpenSetSplit
    teacher: Teacher | None
    views: CacheFiles | None
    stores: dict[int, Path]


def build_recipe_caches(path: Path, sets: list[str]) -> None:
    """Store the images and fill the view cache as a run of the recipe would."""
    display = Display()
    with display.active():
        found = _caches(path, sets)
        recipe, dataset = found.recipe, found.dataset
        for size in found.stores:
            open_store(dataset.index, size)
    if found.teacher is None:
        display.note(f"{_no_views(recipe)}: only the images are stored")
    else:
        images = open_store(dataset.index, recipe.views.store_size).images(dataset.split.train)
        with display.bar("teacher views", "images") as bar:
            build_for(
                recipe,
                found.teacher,
                images,
                report=bar,
                waiting=lambda: display.note("other processes fill the rest; waiting for them"),
            )
    console = _console()
    for entry in _entries(found):
        console.print(f"{entry.kind} {entry.folder}: {entry.holds}, {size_text(entry.bytes)}")


def verify_recipe_caches(path: Path, sets: list[str], repair: bool) -> int:
    """Check every byte of what the recipe uses; 1 if something is damaged and stays so, else 0."""
    found = _caches(path, sets)
    console = _console()
    damaged = 0
    sound: dict[int, Store] = {}

    def bad(line: str, folder: Path) -> None:
        nonlocal damaged
        damaged += 1
        console.print(f"damaged: {line}")
        if repair:
            remove_folder(folder)
            console.print(f"  removed {folder}; it is built again when it is needed")

    for size, folder in found.stores.items():
        if not folder.exists():
            console.print(f"images at {size} px: not stored yet")
            continue
        try:
            store = Store(found.dataset.index, size, folder)
            wrong = store.damaged_rows()
        except EdgeDistillError as error:
            bad(str(error).partition("; remove it")[0], folder)
            continue
        if len(wrong):
            first = found.dataset.index.paths[wrong[0]]
            bad(f"{folder}: pixels of {len(wrong)} images were edited, first {first}", folder)
        else:
            sound[size] = store
            console.print(f"images at {size} px: {size_text(disk_bytes(folder))}, sound")
    if found.teacher is None or found.views is None:
        console.print(f"{_no_views(found.recipe)}: no view cache to check")
    elif not found.views.folder.exists():
        console.print("views: not computed yet")
    elif cache_files.in_use(found.views.folder):
        raise UsageError(
            f"{found.views.folder}: another process is filling it; verify it when that has ended"
        )
    elif fault := cache_files.validate(found.views):
        bad(fault, found.views.folder)
    else:
        cut_from = sound.get(found.recipe.views.store_size)
        damaged += _verify_rows(found, found.teacher, found.views, cut_from, repair, console)
    return int(damaged > 0 and not repair)


def clear_recipe_caches(path: Path, sets: list[str]) -> None:
    """Remove the view cache and the stored images that the recipe uses."""
    remove(_entries(_caches(path, sets)))


def _verify_rows(
    found: _Caches,
    teacher: Teacher,
    files: CacheFiles,
    store: Store | None,
    repair: bool,
    console: Console,
) -> int:
    """1 if rows are damaged; `store` are the images views are cut from, if they are there."""
    index = found.dataset.index
    hashes = files.pixel_hashes()
    done = np.flatnonzero(hashes)
    wrong = cache_files.damaged_rows(files, done)
    if len(wrong):
        console.print(
            f"damaged: {files.folder / cache_files.EMBEDDINGS}: the embeddings of {len(wrong)} "
            f"images, first {index.paths[wrong[0]]}"
        )
        if repair:
            cache_files.invalidate(files, wrong)
            console.print("  forgotten; they are computed again when they are needed")
        return 1
    stale = 0
    if store is not None:
        stale = int(np.count_nonzero(hashes[done] != store.hashes[done]))
        off = disagreement(found.recipe, teacher, index, store, files)
        if off > _TOLERANCE:
            console.print(
                f"damaged: {files.folder}: the teacher's embeddings are {off:.2g} (1 - cosine) "
                "from the cached ones"
            )
            if repair:
                remove_folder(files.folder)
                console.print("  removed; it is built again when it is needed")
            return 1
    more = f"; {stale} images changed since and are computed again when needed" if stale else ""
    console.print(
        f"views: {len(done)} of {files.images} images, {size_text(disk_bytes(files.folder))}, "
        f"sound{more}"
    )
    return 0


def _caches(path: Path, sets: list[str]) -> _Caches:
    recipe = load_recipe(path, sets)
    dataset = resolve_split(recipe.data)
    teacher = None
    if METHODS[recipe.method.name].needs_teacher and recipe.views.count:
        device = resolve_device(recipe.device)
        teacher = load_teacher(recipe.teacher.model, recipe.teacher.pretrained, device)
    sizes = {recipe.views.store_size, recipe.student.size}
    sizes |= {teacher.size} if teacher else set()
    return _Caches(
        recipe,
        dataset,
        teacher,
        files_for(recipe, teacher, dataset.index) if teacher else None,
        {size: store_folder(dataset.index, size) for size in sorted(sizes)},
    )


def _entries(found: _Caches) -> list[Entry]:
    folders = [("images", folder) for folder in found.stores.values()]
    if found.views is not None:
        folders.append(("views", found.views.folder))
    return [describe(kind, folder) for kind, folder in folders if folder.exists()]


def _no_views(recipe: Recipe) -> str:
    if not METHODS[recipe.method.name].needs_teacher:
        return f"{recipe.method.name} learns from no teacher"
    return "views.count = 0 asks the teacher as it trains"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)
