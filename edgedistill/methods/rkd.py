"""RKD: distances and angles between a batch's features as between the teacher's embeddings.

"Relational Knowledge Distillation", arXiv 1904.05068, CVPR 2019.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import pairwise_angles, relative_distances
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class RKDHyper(HyperParameters):
    """Hyper-parameters of RKD; defaults are those of its classification experiments."""

    distance: float = Field(
        25.0,
        ge=0,
        le=10000,
        description="Weight of the distances between pairs of images.",
        json_schema_extra=searched(1, 100),
    )
    angle: float = Field(
        50.0,
        ge=0,
        le=10000,
        description="Weight of the angles between triples of images.",
        json_schema_extra=searched(2, 200),
    )


@METHODS.register("rkd")
class RKD(LinearMethod[RKDHyper]):
    """Relational knowledge distillation (RKD, arXiv 1904.05068)."""

    Hyper: ClassVar[type[HyperParameters]] = RKDHyper
    needs_teacher: ClassVar[bool] = True

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image = self.require_teacher(teacher_outputs).image
        hard = F.cross_entropy(out.logits, labels)
        # A difference up to 1 counts by its square, a larger one by its size: Huber's loss.
        distance = F.smooth_l1_loss(relative_distances(out.features), relative_distances(image))
        angle = F.smooth_l1_loss(pairwise_angles(out.features), pairwise_angles(image))
        return {
            "loss": hard + self.hyper.distance * distance + self.hyper.angle * angle,
            "cross_entropy": hard,
            "distance": distance,
            "angle": angle,
        }
