"""The values of a finished run that an export is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.data.identity import ImageIdentity
from edgedistill.data.index import Index
from edgedistill.methods import Method
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe import Recipe
from edgedistill.recipe.schema import PromptsSection
from edgedistill.students import Student


@dataclass(frozen=True)
class Calibration:
    """The score and calibrated threshold below which a student answers *unknown*.

    Attributes:
        score: a name in the registry of scores.
        threshold: -inf where nothing is rejected.
        target_keep_rate: share of known images that it is to keep.
        images: how many it was calibrated on.
        rule: these images and the rule, in words, for the metadata of a file.
        carried_over: whether those were images of other classes than the file's.
    """

    score: str
    threshold: float
    target_keep_rate: float
    images: int
    rule: str = "source validation, split-conformal quantile"
    carried_over: bool = False


@dataclass(frozen=True)
class Prompted:
    """The classes that a run was given after training.

    Attributes:
        run: the run with the classes it was trained on.
        prompts: names by class, and the templates they stand in.
        teacher: name of the model that encoded them.
        images: labelled images of these classes and of others; None where none were given.
    """

    run: FinishedRun
    prompts: PromptsSection
    teacher: str
    images: Index | None


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
        images: what it was trained and calibrated on; None where that was not recorded.
        prompted: None while the classes are those of the training.
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
    images: ImageIdentity | None = None
    prompted: Prompted | None = None
