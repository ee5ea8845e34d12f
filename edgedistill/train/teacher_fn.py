"""Functions that give training the teacher's embeddings: from a view cache, or as it goes."""

import torch
from torch import Tensor

from edgedistill import callbacks
from edgedistill.data.images import ImageSet
from edgedistill.data.views import ViewBatch
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.view_cache.cache import ViewCache
from edgedistill.teacher.view_cache.settings import ViewCacheSettings, open_cache
from edgedistill.train.batches import Batch
from edgedistill.train.context import TeacherFn
from edgedistill.train.device import to_device


def open_teacher_fn(teacher: Teacher, settings: ViewCacheSettings, images: ImageSet) -> TeacherFn:
    """The teacher's embeddings of views of `images`, which a batch's positions are positions in.

    They come from the view cache, which is filled first; with a count of 0 views from the teacher.
    Raises CacheError when the cache cannot be written or was damaged.
    """
    if settings.count == 0:
        return _on_the_fly(teacher, settings)
    callback = callbacks.current()
    with callback.progress("teacher views", "images") as report:
        note = "another process fills this view cache; waiting for it"
        cache = open_cache(settings, teacher, images, report, lambda: callback.on_note(note))
    return _from_cache(teacher, cache, images)


def _on_the_fly(teacher: Teacher, settings: ViewCacheSettings) -> TeacherFn:
    mean, std = settings.normalization or (None, None)

    def embed(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        return teacher.encode_images(views.render(teacher.size, rows), mean, std)

    return embed


def _from_cache(teacher: Teacher, cache: ViewCache, images: ImageSet) -> TeacherFn:
    def look_up(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        # The whole batch, and the rows on the device: the host does not know them there.
        cached = cache.lookup(images.rows[batch.positions], batch.views)
        embeddings = to_device(cached, teacher.device)
        # float16 moved the length by up to a few 1e-4.
        return torch.nn.functional.normalize(
            embeddings if rows is None else embeddings[rows], dim=1
        )

    return look_up
