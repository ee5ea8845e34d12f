"""ERM: cross-entropy on the labels, no teacher."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from edgedistill.methods.base import HyperParameters, Method, StudentOutput, TeacherOutputs
from edgedistill.methods.heads import LinearHead


class ERMHyper(HyperParameters):
    """ERM has no hyper-parameters of its own."""


class ERM(Method[ERMHyper, LinearHead]):
    """Empirical risk minimisation: the baseline every method has to beat."""

    name: ClassVar[str] = "erm"
    Hyper: ClassVar[type[HyperParameters]] = ERMHyper
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
        loss = F.cross_entropy(out.logits, labels)
        return {"loss": loss, "cross_entropy": loss}
