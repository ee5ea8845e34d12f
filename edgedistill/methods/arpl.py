"""ARPL: classes told by their distance from learned points that stand for what they are not.

"Adversarial Reciprocal Points Learning for Open Set Recognition", arXiv 2103.00065, TPAMI 2021,
without its generator of confusing images (ARPL, not ARPL+CS). No teacher.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.heads import ReciprocalPointHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class ARPLHyper(HyperParameters):
    """Hyper-parameters of ARPL; defaults are the authors'."""

    weight: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="Weight of the margin that bounds the known classes' features.",
        json_schema_extra=searched(0.01, 1),
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Divides the distances from the reciprocal points.",
        json_schema_extra=searched(0.25, 4),
    )


@METHODS.register("arpl")
class ARPL(Method[ARPLHyper, ReciprocalPointHead]):
    """Adversarial reciprocal points (ARPL, arXiv 2103.00065), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = ARPLHyper
    needs_teacher: ClassVar[bool] = False

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> ReciprocalPointHead:
        return ReciprocalPointHead(feature_dim, num_classes, self.hyper.temperature)

    def compute_losses(
        self,
        head: ReciprocalPointHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        hard = F.cross_entropy(out.logits, labels)
        distances = (out.features - head.points[labels]).square().mean(dim=1)
        margin = F.relu(distances - head.radius).mean()
        return {
            "loss": hard + self.hyper.weight * margin,
            "cross_entropy": hard,
            "margin": margin,
        }
