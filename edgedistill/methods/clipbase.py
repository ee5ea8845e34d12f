"""CLIPBase: the teacher's class probabilities are the only target; labels are not used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from edgedistill.methods.authors_code import HDG_DISTILLATION
from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import similarity, soft_cross_entropy
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters
from edgedistill.registries import METHODS


@METHODS.register("clipbase")
class CLIPBase(Method[HyperParameters, LinearHead]):
    """Distillation of the teacher's class probabilities alone (arXiv 2404.09011, a baseline)."""

    needs_teacher: ClassVar[bool] = True
    authors_recipe: ClassVar[Mapping[str, Any]] = HDG_DISTILLATION

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
