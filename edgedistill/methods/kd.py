"""KD: cross-entropy plus distillation of the teacher's class probabilities."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import distillation, labelled_cross_entropy
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class KDHyper(HyperParameters):
    """Hyper-parameters of classical knowledge distillation."""

    temperature: float = Field(
        4.0,
        gt=0,
        le=100,
        description="Softens the teacher's and the student's distributions.",
        json_schema_extra=searched(1, 16),
    )
    weight: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the distillation term beside cross-entropy.",
        json_schema_extra=searched(0.25, 4),
    )


@METHODS.register("kd")
class KD(LinearMethod[KDHyper]):
    """Knowledge distillation (arXiv 1503.02531) from the teacher's zero-shot classifier."""

    Hyper: ClassVar[type[HyperParameters]] = KDHyper
    needs_teacher: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image, text, _ = self.require_teacher(teacher_outputs)
        teacher = text.cosines(image) * text.logit_scale
        hard = labelled_cross_entropy(out.logits, labels)
        soft = distillation(teacher, out.logits, self.hyper.temperature)
        return {
            "loss": hard + self.hyper.weight * soft,
            "cross_entropy": hard,
            "distillation": soft,
        }
