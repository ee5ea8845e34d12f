"""The inputs of training, and the exception of a run that was stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, device

from edgedistill.data.images import LabelledImages
from edgedistill.data.views import ViewBatch, ViewSpec
from edgedistill.methods import Method
from edgedistill.methods.reliability import Reliability
from edgedistill.methods.text_bank import TextBank
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


class Validator(Protocol):
    """What is measured of a student while it trains."""

    @property
    def figure(self) -> str:
        """Name of the figure that selects the weights: the larger, the better."""
        ...

    def __call__(self, context: "TrainContext", student: Student, /) -> Mapping[str, float]:
        """Figures by their names in history.csv, that of `figure` among them.

        All processes of a context call it. Raises DivergedError where an output is not finite.
        """
        ...

    def standard_error(self, value: float, /) -> float:
        """How far a value of `figure` is from that of endless images; 0 where nobody knows."""
        ...


class Stopped(Exception):
    """Ctrl-C or a termination signal: the run is saved and resumes where it stopped."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped at step {step} of {total}")


@dataclass(frozen=True)
class TrainContext:
    """Everything a run trains with.

    Attributes:
        teacher_fn: looks up or computes the teacher's embeddings; None if the method needs none.
        text: class texts on the device, None likewise.
        images: training images, at the size that views are cut from; behind those with a label
            the ones without, which belong to no domain.
        reliability: of the teacher on source validation, on the device; None where not measured.
        validator: measures the student at every validation.
        size: the student's input side in pixels.
        dtype: what the student's forward pass is autocast to, None for plain float32.
        views: cached views per image, 0 for endless.
        processes: the processes that train together; each has a task of its own.
    """

    student: Student
    method: Method[Any, Any]
    images: LabelledImages
    spec: ViewSpec
    views: int
    teacher_fn: TeacherFn | None
    text: TextBank | None
    validator: Validator
    size: int
    settings: TrainSection
    seed: int
    device: device
    dtype: torch.dtype | None = None
    processes: ProcessGroup = field(default_factory=ProcessGroup)
    reliability: Reliability | None = None
