"""NKD: distillation of the label's probability, and normalised among the other classes.

"From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss
and Customized Soft Labels", arXiv 2303.13005, ICCV 2023.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import non_target_cross_entropy
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class NKDHyper(HyperParameters):
    """Hyper-parameters of NKD; defaults are the authors' on ImageNet."""

    gamma: float = Field(
        1.5,
        ge=0,
        le=1000,
        description="Weight of the cross-entropy among the classes that are not the label.",
        json_schema_extra=searched(0.25, 8),
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Softens the distributions over the classes that are not the label.",
        json_schema_extra=searched(0.5, 16),
    )


@METHODS.register("nkd")
class NKD(LinearMethod[NKDHyper]):
    """Normalised knowledge distillation (NKD, arXiv 2303.13005)."""

    Hyper: ClassVar[type[HyperParameters]] = NKDHyper
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
        each = F.cross_entropy(out.logits, labels, reduction="none")
        label_share = F.softmax(teacher, dim=-1).gather(1, labels[:, None])[:, 0]
        hard, target = each.mean(), (label_share * each).mean()
        others = non_target_cross_entropy(teacher, out.logits, labels, self.hyper.temperature)
        return {
            "loss": hard + target + self.hyper.gamma * others,
            "cross_entropy": hard,
            "target_distillation": target,
            "non_target_distillation": others,
        }
