"""The values of a finished run that an export is made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.methods import Method
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe import Recipe
from edgedistill.students import Student


@dataclass(frozen=True)
class Calibration:
    """The score and calibrated threshold below which a student answers *unknown*.

    `threshold` may be -inf (nothing is rejected); `images` is how many it was calibrated on.
    """

    score: str
    threshold: float
    target_keep_rate: float
    images: int


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, read back by `edgedistill.runs.finished.load_finished`.

    Attributes:
        path: the run folder.
        recipe: resolved.
        recipe_sha256: of the bytes of its file.
        classes: the known classes in label order.
        student: on the CPU, in evaluation mode.
        openset: the student's head, with the calibrated threshold.
        metrics: metrics.json.
    """

    path: Path
    recipe: Recipe
    recipe_sha256: str
    classes: tuple[str, ...]
    student: Student
    openset: OpenSetHead
    method: Method[Any, Any]
    calibration: Calibration
    metrics: dict[str, Any]
