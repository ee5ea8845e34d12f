"""The inputs of training, and the exception of a run that was stopped."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, device

from edgedistill.data.images import LabelledImages
from edgedistill.data.views import ViewBatch, ViewSpec
from edgedistill.methods import Method
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.schema import TrainSection
from edgedistill.students import Student
from edgedistill.train.batches import Batch
from edgedistill.train.distributed import ProcessGroup

History = list[dict[str, float]]


class TeacherFn(Protocol):
    """The teacher's embeddings of a batch's views, unit-norm float32 `[b, D]` on the device.

    Of `rows`, positions in the batch that lie on the device, or of all rows when None. Nothing in
    it may wait for the device.
    """

    def __call__(self, batch: Batch, views: ViewBatch, rows: Tensor | None, /) -> Tensor: ...


class Stopped(Exception):
    """Ctrl-C or a termination signal: the run is saved and resumes where it stopped."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped at step {step} of {total}")


@dataclass(frozen=True)
class TrainContext:
    """Everything a run trains with.

    Attributes:
        openset: what stands before and behind the student when it is validated.
        teacher_fn: looks up or computes the teacher's embeddings; None if the method needs none.
        text: class texts on the device, None likewise.
        images: training images, at the size that views are cut from.
        validation: source-validation images, see `predict`.
        validation_views: parameters of the view of each to validate on, None: whole images.
        size: the student's input side in pixels.
        dtype: what the student's forward pass is autocast to, None for plain float32.
        views: cached views per image, 0 for endless.
        processes: the processes that train together; each has a task of its own.
    """

    student: Student
    openset: OpenSetHead
    method: Method[Any, Any]
    images: LabelledImages
    spec: ViewSpec
    views: int
    teacher_fn: TeacherFn | None
    text: TextBank | None
    validation: LabelledImages
    validation_views: NDArray[np.float32] | None
    size: int
    settings: TrainSection
    seed: int
    device: device
    dtype: torch.dtype | None = None
    processes: ProcessGroup = field(default_factory=ProcessGroup)
