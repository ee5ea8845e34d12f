"""View caches of recipes, and a spot check of their embeddings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.images import ImageSet
from edgedistill.data.index import Index
from edgedistill.data.normalization import Channels
from edgedistill.data.store.image_store import Store
from edgedistill.data.views import ViewSpec
from edgedistill.recipe import Recipe
from edgedistill.students import architecture
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.cache import (
    Report,
    ViewCache,
    build_view_cache,
    cache_header,
    embed_views,
)
from edgedistill.teacher.view_cache.files import CacheFiles

# Rows that `disagreement` asks the teacher about again.
_SPOT_CHECKS = 8


def view_spec(recipe: Recipe) -> ViewSpec:
    """The recipe's view parameters."""
    return ViewSpec(**recipe.views.model_dump(exclude={"count", "store_size"}))


def teacher_normalization(recipe: Recipe) -> tuple[Channels, Channels] | None:
    """Mean and std the teacher is fed with instead of its own, None for its own."""
    if recipe.teacher.normalization == "own":
        return None
    student = architecture(recipe.student.model)
    return student.mean, student.std


def build_for(
    recipe: Recipe,
    teacher: Teacher,
    images: ImageSet,
    report: Report,
    waiting: Callable[[], None],
) -> ViewCache:
    """`build_view_cache` with the recipe's teacher, views and batch."""
    return build_view_cache(
        _root(),
        teacher,
        images,
        view_spec(recipe),
        recipe.views.count,
        normalization=teacher_normalization(recipe),
        batch=recipe.teacher.batch,
        report=report,
        waiting=waiting,
    )


def files_for(recipe: Recipe, teacher: Teacher, index: Index) -> CacheFiles:
    """Folder and shape of the recipe's view cache, which may not exist."""
    header = cache_header(
        teacher,
        index.paths,
        recipe.views.store_size,
        view_spec(recipe),
        recipe.views.count,
        teacher_normalization(recipe),
        recipe.teacher.batch,
    )
    return cache_files.locate(_root(), header)


def disagreement(
    recipe: Recipe, teacher: Teacher, index: Index, store: Store, files: CacheFiles
) -> float:
    """Distance of cached embeddings to the teacher's own, on a few rows spread over the cache.

    Returns:
        The largest distance (1 - cosine) of a cached embedding to the teacher's; 0 if no row of
        the images as they are is cached.
    """
    rows = np.flatnonzero((files.pixel_hashes() == store.hashes) & store.readable)
    if not len(rows):
        return 0.0
    rows = rows[np.linspace(0, len(rows) - 1, min(_SPOT_CHECKS, len(rows))).astype(np.int64)]
    images = ImageSet.from_array(store.gather(rows), index.paths, rows)
    count = files.count
    positions, views = np.repeat(np.arange(len(rows)), count), np.tile(np.arange(count), len(rows))
    computed = embed_views(
        teacher,
        images,
        positions,
        views,
        view_spec(recipe),
        teacher_normalization(recipe),
        recipe.teacher.batch,
    )
    cached = files.embeddings()[rows].reshape(-1, files.width).astype(np.float64)
    return float(np.max(1 - _cosines(computed.cpu().double().numpy(), cached)))


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = np.sum(a * b, axis=1) / np.maximum(lengths, 1e-12)
    return cosines


def _root() -> Path:
    return cache_dir() / "views"
