"""DIST: correlation with the teacher's probabilities, within each image and within each class.

"Knowledge Distillation from A Stronger Teacher", arXiv 2205.10536, NeurIPS 2022.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import correlation_distance
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class DISTHyper(HyperParameters):
    """Hyper-parameters of DIST; defaults are the paper's on ImageNet."""

    beta: float = Field(
        2.0,
        ge=0,
        le=1000,
        description="Weight of the correlation over the classes of an image.",
        json_schema_extra=searched(0.25, 8),
    )
    gamma: float = Field(
        2.0,
        ge=0,
        le=1000,
        description="Weight of the correlation over the images of a batch, class by class.",
        json_schema_extra=searched(0.25, 8),
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Softens the teacher's and the student's distributions.",
        json_schema_extra=searched(0.5, 16),
    )


@METHODS.register("dist")
class DIST(LinearMethod[DISTHyper]):
    """Distillation from a stronger teacher by correlations (DIST, arXiv 2205.10536)."""

    Hyper: ClassVar[type[HyperParameters]] = DISTHyper
    needs_teacher: ClassVar[bool] = True

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image, text, _ = self.require_teacher(teacher_outputs)
        temperature = self.hyper.temperature
        teacher = F.softmax(text.cosines(image) * text.logit_scale / temperature, dim=-1)
        student = F.softmax(out.logits / temperature, dim=-1)
        hard = F.cross_entropy(out.logits, labels)
        inter = temperature**2 * correlation_distance(student, teacher)
        intra = temperature**2 * correlation_distance(student.T, teacher.T)
        return {
            "loss": hard + self.hyper.beta * inter + self.hyper.gamma * intra,
            "cross_entropy": hard,
            "inter_class": inter,
            "intra_class": intra,
        }
