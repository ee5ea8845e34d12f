"""Teach: the teacher's embeddings of training views, and of the images it is measured on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgedistill import callbacks
from edgedistill.data.views import ViewBatch
from edgedistill.recipe.schema import TeacherSection, ViewsSection
from edgedistill.runs.stages.plain import embed_plain_images
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.view_cache.cache import ViewCache
from edgedistill.teacher.view_cache.settings import ViewCacheSettings, open_cache
from edgedistill.train.batches import Batch
from edgedistill.train.context import TeacherFn
from edgedistill.train.device import to_device


@dataclass(frozen=True)
class Teach:
    """The stage that asks the teacher, about training views only where the method wants them.

    Attributes:
        steps: of the training; without any, nobody sees a view.
    """

    views: ViewsSection
    teacher: TeacherSection
    steps: int

    def __call__(self, prepared: Prepared) -> TeacherFn | None:
        """The function that gives training the teacher's embeddings; None if nothing asks.

        Raises CacheError when a cache cannot be written or was damaged.
        """
        # Before training, which a full disk or a damaged cache would otherwise come after.
        embed_plain_images(prepared, self.teacher.batch)
        teacher, student = prepared.teacher, prepared.student
        if teacher is None or not prepared.method.needs_teacher or not self.steps:
            return None
        settings = ViewCacheSettings.of(self.views, self.teacher, (student.mean, student.std))
        if settings.count == 0:
            return _on_the_fly(teacher, settings)
        images, callback = prepared.images.train.images, callbacks.current()
        with callback.progress("teacher views", "images") as report:
            note = "another process fills this view cache; waiting for it"
            cache = open_cache(settings, teacher, images, report, lambda: callback.on_note(note))
        return _from_cache(teacher, cache, prepared)


def _on_the_fly(teacher: Teacher, settings: ViewCacheSettings) -> TeacherFn:
    mean, std = settings.normalization or (None, None)

    def embed(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        return teacher.encode_images(views.render(teacher.size, rows), mean, std)

    return embed


def _from_cache(teacher: Teacher, cache: ViewCache, prepared: Prepared) -> TeacherFn:
    index_rows = prepared.images.train.images.rows

    def look_up(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        # The whole batch, and the rows on the device: the host does not know them there.
        cached = cache.lookup(index_rows[batch.positions], batch.views)
        embeddings = to_device(cached, teacher.device)
        # float16 moved the length by up to a few 1e-4.
        return torch.nn.functional.normalize(
            embeddings if rows is None else embeddings[rows], dim=1
        )

    return look_up
