"""View caches of a recipe's sections, and a spot check of their embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.images import ImageSet
from edgedistill.data.index import Index
from edgedistill.data.normalization import Channels
from edgedistill.data.store.image_store import Store
from edgedistill.data.views import ViewSpec, view_spec
from edgedistill.recipe.schema import TeacherSection, ViewsSection
from edgedistill.teacher.base import Teacher
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


@dataclass(frozen=True)
class ViewCacheSettings:
    """Everything that a view cache depends on beside the teacher and the images.

    Attributes:
        spec: random ranges of the views.
        count: views per image.
        store_size: side in pixels of the stored images that views are cut from.
        normalization: mean and std the teacher is fed with instead of its own, None for its own.
        batch: views that the teacher embeds at once, at most.
    """

    spec: ViewSpec
    count: int
    store_size: int
    normalization: tuple[Channels, Channels] | None
    batch: int

    @classmethod
    def of(
        cls, views: ViewsSection, teacher: TeacherSection, student: tuple[Channels, Channels]
    ) -> "ViewCacheSettings":
        """The settings of a recipe's sections; `student` is the student's mean and std."""
        return cls(
            spec=view_spec(views),
            count=views.count,
            store_size=views.store_size,
            normalization=None if teacher.normalization == "own" else student,
            batch=teacher.batch,
        )


def open_cache(
    settings: ViewCacheSettings,
    teacher: Teacher,
    images: ImageSet,
    report: Report,
    waiting: Callable[[], None],
) -> ViewCache:
    """`build_view_cache` below the user's cache folder."""
    return build_view_cache(
        _root(),
        teacher,
        images,
        settings.spec,
        settings.count,
        normalization=settings.normalization,
        batch=settings.batch,
        report=report,
        waiting=waiting,
    )


def locate_cache(settings: ViewCacheSettings, teacher: Teacher, index: Index) -> CacheFiles:
    """Folder and shape of a view cache, which may not exist."""
    header = cache_header(
        teacher,
        index.paths,
        settings.store_size,
        settings.spec,
        settings.count,
        settings.normalization,
        settings.batch,
    )
    return cache_files.locate(_root(), header)


def disagreement(
    settings: ViewCacheSettings, teacher: Teacher, index: Index, store: Store, files: CacheFiles
) -> float:
    """Distance of cached embeddings to the teacher's own, on a few rows spread over the cache.

    Returns:
        The largest distance (1 - cosine) of a cached embedding to the teacher's; 0 if no row of
        the images as they are is cached.
    """
    rows = spread_rows(files, store)
    if not len(rows):
        return 0.0
    images = ImageSet.from_array(store.gather(rows), index.paths, rows)
    count = files.count
    positions, views = np.repeat(np.arange(len(rows)), count), np.tile(np.arange(count), len(rows))
    computed = embed_views(
        teacher,
        images,
        positions,
        views,
        settings.spec,
        settings.normalization,
        settings.batch,
    )
    cached = files.embeddings()[rows].reshape(-1, files.width)
    return cosine_distance(computed.cpu().numpy(), cached)


def spread_rows(files: CacheFiles, store: Store) -> NDArray[np.int64]:
    """A few rows spread over those that are cached of the store's images as they are."""
    rows = np.flatnonzero((files.pixel_hashes() == store.hashes) & store.readable)
    return rows[np.linspace(0, len(rows) - 1, min(_SPOT_CHECKS, len(rows))).astype(np.int64)]


def cosine_distance(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """The largest distance (1 - cosine) of a row of `a` `[n, D]` to that of `b`."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.max(1 - np.sum(a * b, axis=1) / np.maximum(lengths, 1e-12)))


def _root() -> Path:
    return cache_dir() / "views"
