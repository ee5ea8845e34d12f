"""ERM: cross-entropy on the labels, no teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from edgedistill.methods.authors_code import HDG_TRAINING
from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters
from edgedistill.registries import METHODS


@METHODS.register("erm")
class ERM(Method[HyperParameters, LinearHead]):
    """Empirical risk minimisation: cross-entropy on the labels, no teacher."""

    needs_teacher: ClassVar[bool] = False
    authors_recipe: ClassVar[Mapping[str, Any]] = HDG_TRAINING

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
