"""Functions that give training the teacher's embeddings: from a view cache, or as it goes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill import callbacks
from edgedistill.data.images import ImageSet, by_part
from edgedistill.data.views import ViewBatch
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.view_cache.cache import ViewCache
from edgedistill.teacher.view_cache.settings import ViewCacheSettings, open_cache
from edgedistill.train.batches import Batch
from edgedistill.train.context import TeacherFn
from edgedistill.train.device import to_device


def open_teacher_fn(
    teacher: Teacher, settings: ViewCacheSettings, images: ImageSet, *more: ImageSet
) -> TeacherFn:
    """The teacher's embeddings of views of images, which a batch's positions are positions in.

    They come from the view cache of each set, which is filled first; with a count of 0 views from
    the teacher.

    Args:
        images, more: sets of images, which positions go through one after the other.

    Raises CacheError when the cache cannot be written or was damaged.
    """
    if settings.count == 0:
        return _on_the_fly(teacher, settings)
    callback = callbacks.current()
    note = "another process fills this view cache; waiting for it"
    parts = []
    for part in (images, *more):
        with callback.progress("teacher views", "images") as report:
            cache = open_cache(settings, teacher, part, report, lambda: callback.on_note(note))
        parts.append((cache, part.rows))
    return _from_caches(teacher, parts)


def _on_the_fly(teacher: Teacher, settings: ViewCacheSettings) -> TeacherFn:
    mean, std = settings.normalization or (None, None)

    def embed(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        return teacher.encode_images(views.render(teacher.size, rows), mean, std)

    return embed


def _from_caches(
    teacher: Teacher, parts: Sequence[tuple[ViewCache, NDArray[np.int64]]]
) -> TeacherFn:
    """Lookup in caches, each with the rows of its images in the order of their positions."""
    ends = np.cumsum([len(rows) for _, rows in parts])

    def look_up(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        # The whole batch, and the rows on the device: the host does not know them there.
        cached = np.empty((len(batch), teacher.width), np.float32)
        for number, places, positions in by_part(ends, batch.positions):
            cache, cache_rows = parts[number]
            cached[places] = cache.lookup(cache_rows[positions], batch.views[places])
        embeddings = to_device(cached, teacher.device)
        # float16 moved the length by up to a few 1e-4.
        return torch.nn.functional.normalize(
            embeddings if rows is None else embeddings[rows], dim=1
        )

    return look_up
