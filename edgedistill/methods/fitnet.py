"""FitNet: a regression from the student's features to a hint of the teacher.

"FitNets: Hints for Thin Deep Nets", arXiv 1412.6550, ICLR 2015. The teacher is known by its image
embedding alone, which is the hint; the guided layer is the student's pooled one.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import labelled_cross_entropy
from edgedistill.methods.heads import RegressorHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class FitNetHyper(HyperParameters):
    """Hyper-parameters of FitNet."""

    weight: float = Field(
        1.0,
        ge=0,
        le=10000,
        description="Weight of half the squared distance to the hint, summed over its entries, "
        "beside cross-entropy; the authors' is 1, in a stage of its own before.",
        json_schema_extra=searched(0.25, 64),
    )


@METHODS.register("fitnet")
class FitNet(Method[FitNetHyper, RegressorHead]):
    """Hint regression (FitNets' equation 3, arXiv 1412.6550) in one stage with cross-entropy."""

    Hyper: ClassVar[type[HyperParameters]] = FitNetHyper
    needs_teacher: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True
    projection_weight: ClassVar[str | None] = "regressor.weight"

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> RegressorHead:
        width = self.class_texts().pooled.shape[1]
        return RegressorHead(feature_dim, num_classes, width, projection)

    def compute_losses(
        self,
        head: RegressorHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image = self.require_teacher(teacher_outputs).image
        hard = labelled_cross_entropy(out.logits, labels)
        hint = (head.regressor(out.features) - image).square().sum(dim=-1).mean() / 2
        return {"loss": hard + self.hyper.weight * hint, "cross_entropy": hard, "hint": hint}
