"""DKD: distillation decoupled into the label's class and the other classes.

"Decoupled Knowledge Distillation", arXiv 2203.08679, CVPR 2022.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import non_target_distillation, target_distillation
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class DKDHyper(HyperParameters):
    """Hyper-parameters of DKD; defaults are the authors' on CIFAR-100."""

    alpha: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the distillation of the label's probability against all others.",
        json_schema_extra=searched(0.25, 4),
    )
    beta: float = Field(
        8.0,
        ge=0,
        le=1000,
        description="Weight of the distillation among the classes that are not the label.",
        json_schema_extra=searched(0.5, 16),
    )
    temperature: float = Field(
        4.0,
        gt=0,
        le=100,
        description="Softens the teacher's and the student's distributions.",
        json_schema_extra=searched(1, 16),
    )


@METHODS.register("dkd")
class DKD(LinearMethod[DKDHyper]):
    """Decoupled knowledge distillation (DKD, arXiv 2203.08679)."""

    Hyper: ClassVar[type[HyperParameters]] = DKDHyper
    needs_teacher: ClassVar[bool] = True

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image, text, _ = self.require_teacher(teacher_outputs)
        teacher = text.cosines(image) * text.logit_scale
        temperature = self.hyper.temperature
        hard = F.cross_entropy(out.logits, labels)
        target = target_distillation(teacher, out.logits, labels, temperature)
        others = non_target_distillation(teacher, out.logits, labels, temperature)
        return {
            "loss": hard + self.hyper.alpha * target + self.hyper.beta * others,
            "cross_entropy": hard,
            "target_distillation": target,
            "non_target_distillation": others,
        }
