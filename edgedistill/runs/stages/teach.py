"""Teach: the teacher's embeddings of training views, and of the images it is measured on."""

from dataclasses import dataclass

from edgedistill.recipe.schema import TeacherSection, ViewsSection
from edgedistill.runs.stages.plain import embed_plain_images
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.teacher.view_cache.settings import ViewCacheSettings
from edgedistill.train.context import TeacherFn
from edgedistill.train.teacher_fn import open_teacher_fn


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
        images = prepared.images
        return open_teacher_fn(teacher, settings, images.train.images, *images.unlabelled)
