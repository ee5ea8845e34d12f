"""A user's module: one method, student, dataset, score and exporter of their own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import edgedistill as ed
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import read_folder
from edgedistill.export.base import ExportedFile, Exporter, ExportOptions
from edgedistill.export.finished import FinishedRun
from edgedistill.methods import HyperParameters, Method, StudentOutput, TeacherOutputs
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import searched
from edgedistill.openset.scores.base import Score, ScoreInputs

NAME = "own"


class OwnHyper(HyperParameters):
    """Hyper-parameters of the method."""

    scale: float = Field(
        1.0, gt=0, description="Weight of the loss.", json_schema_extra=searched(0.1, 10)
    )


@ed.register_method(NAME)
class SquaredError(Method[OwnHyper, LinearHead]):
    """Squared error of the logits to one-hot labels."""

    Hyper: ClassVar[type[HyperParameters]] = OwnHyper
    needs_teacher: ClassVar[bool] = False

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> LinearHead:
        return LinearHead(feature_dim, num_classes)

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        target = F.one_hot(labels, out.logits.shape[1]).float()
        return {"loss": self.hyper.scale * F.mse_loss(out.logits, target)}


@ed.register_student(NAME)
def quarters() -> nn.Module:
    """Mean colors of an image's four quarters, and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 8))


@ed.register_dataset(NAME)
def own_folder(root: str | Path) -> Index:
    """A folder of images, read as it is."""
    return read_folder(root)


@ed.register_score(NAME)
class Margin(Score):
    """Largest logit minus the mean of all."""

    summary: ClassVar[str] = "largest logit minus the mean logit"

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        return inputs.logits.amax(dim=1) - inputs.logits.mean(dim=1)


@ed.register_exporter(NAME)
class Matrices(Exporter):
    """Writer of the student's two matrices and what stands around them, for NumPy."""

    summary: ClassVar[str] = "the student's matrices for NumPy"
    suffix: ClassVar[str] = ".npz"

    def export(self, run: FinishedRun, path: Path, options: ExportOptions) -> ExportedFile:
        arrays = {key: tensor.numpy() for key, tensor in run.student.state_dict().items()}
        with path.open("wb") as file:
            np.savez(
                file,
                mean=run.student.mean,
                std=run.student.std,
                threshold=run.calibration.threshold,
                **arrays,
            )
        return ExportedFile(path, path.stat().st_size)
