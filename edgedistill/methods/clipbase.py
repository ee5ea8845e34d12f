"""CLIPBase: the teacher's class probabilities are the only target; labels are not used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import HDG_DISTILLATION
from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.functional import half_similarity, similarity, soft_cross_entropy
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class CLIPBaseHyper(HyperParameters):
    """Hyper-parameters of CLIPBase."""

    similarity_scale: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Scale of the teacher's cosines; unset, the teacher's own logit scale.",
        json_schema_extra={"authors": 100.0},
    )
    half_similarity: bool = Field(
        False,
        description="Evaluate the teacher's similarities in float16.",
        json_schema_extra={"authors": True},
    )


@METHODS.register("clipbase")
class CLIPBase(LinearMethod[CLIPBaseHyper]):
    """Distillation of the teacher's class probabilities alone (arXiv 2404.09011, a baseline)."""

    Hyper: ClassVar[type[HyperParameters]] = CLIPBaseHyper
    needs_teacher: ClassVar[bool] = True
    authors_recipe: ClassVar[Mapping[str, Any]] = HDG_DISTILLATION

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image, text, _ = self.require_teacher(teacher_outputs)
        own_scale = self.hyper.similarity_scale
        scale = text.logit_scale if own_scale is None else own_scale
        target = (
            half_similarity(text, image, scale)
            if self.hyper.half_similarity
            else similarity(text.cosines(image), scale)
        )
        loss = soft_cross_entropy(out.logits, target).mean()
        return {"loss": loss, "distillation": loss}
