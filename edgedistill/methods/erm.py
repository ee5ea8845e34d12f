"""ERM: cross-entropy on the labels, no teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from edgedistill.methods.authors_code import HDG_TRAINING
from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


@METHODS.register("erm")
class ERM(LinearMethod[HyperParameters]):
    """Empirical risk minimisation: cross-entropy on the labels, no teacher."""

    needs_teacher: ClassVar[bool] = False
    authors_recipe: ClassVar[Mapping[str, Any]] = HDG_TRAINING

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        loss = F.cross_entropy(out.logits, labels)
        return {"loss": loss, "cross_entropy": loss}
