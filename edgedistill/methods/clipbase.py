"""CLIPBase: the teacher's class probabilities are the only target; labels are not used."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from edgedistill.methods.base import HyperParameters, Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import similarity, soft_cross_entropy
from edgedistill.methods.heads import LinearHead


class CLIPBaseHyper(HyperParameters):
    """CLIPBase has no hyper-parameters of its own."""


class CLIPBase(Method[CLIPBaseHyper, LinearHead]):
    """Plain distillation, the SCI-PD authors' baseline (arXiv 2404.09011)."""

    name: ClassVar[str] = "clipbase"
    Hyper: ClassVar[type[HyperParameters]] = CLIPBaseHyper
    needs_teacher: ClassVar[bool] = True

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
        image, text = self.require_teacher(teacher_outputs)
        target = similarity(text.cosines(image), text.logit_scale)
        loss = soft_cross_entropy(out.logits, target).mean()
        return {"loss": loss, "distillation": loss}
