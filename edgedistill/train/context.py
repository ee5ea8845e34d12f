"""What a run trains with, and what it tells while it trains."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, device

from edgedistill.data.views import ViewSpec, render_views
from edgedistill.methods import Method
from edgedistill.methods.text_bank import TextBank
from edgedistill.recipe.schema import TrainSection
from edgedistill.students.torchvision import Student
from edgedistill.train.batches import Batch, TrainImages
from edgedistill.train.distributed import ProcessGroup
from edgedistill.train.predict import Pixels

History = list[dict[str, float]]


class Stored(NamedTuple):
    """The stored images of a batch and the views to cut from them, on the training device."""

    pixels: Tensor
    """uint8 [B, S, S, 3]."""
    parameters: Tensor
    """float32 [B, 10], see `edgedistill.data.views`."""

    def views(self, size: int, rows: Tensor | None = None) -> Tensor:
        """float32 `[b, 3, size, size]` in 0..1: the views of some rows of the batch, or of all."""
        pixels, parameters = self
        if rows is not None:
            pixels, parameters = pixels[rows], parameters[rows]
        return render_views(pixels.permute(0, 3, 1, 2), parameters, size)


class TeacherFn(Protocol):
    """The teacher's embeddings of a batch's views, unit-norm float32 `[b, D]` on the device.

    Of `rows`, positions in the batch that lie on the device, or of all rows when None. Nothing in
    it may wait for the device.
    """

    def __call__(self, batch: Batch, stored: Stored, rows: Tensor | None, /) -> Tensor: ...


class Stopped(Exception):
    """Ctrl-C or a termination signal: the run is saved and resumes where it stopped."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped at step {step} of {total}")


@dataclass(frozen=True)
class Progress:
    """What a display shows: `rate` in images per second, `losses` means since a validation."""

    step: int
    total: int
    rate: float
    losses: dict[str, float]
    val_accuracy: float | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainContext:
    """Everything a run trains with.

    Attributes:
        teacher_fn: looks up or computes the teacher's embeddings; None if the method needs none.
        text: class texts on the device, None likewise.
        validation: images at the student's size, see `predict`.
        size: the student's input side in pixels.
        dtype: what the student's forward pass is autocast to, None for plain float32.
        views: cached views per image, 0 for endless.
        processes: the processes that train together; each has a task of its own.
    """

    student: Student
    method: Method[Any, Any]
    images: TrainImages
    spec: ViewSpec
    views: int
    teacher_fn: TeacherFn | None
    text: TextBank | None
    validation: Pixels
    validation_labels: NDArray[np.int64]
    validation_domains: NDArray[np.int64]
    size: int
    settings: TrainSection
    seed: int
    device: device
    dtype: torch.dtype | None = None
    processes: ProcessGroup = field(default_factory=ProcessGroup)
