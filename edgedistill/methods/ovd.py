"""OVD, open-vocabulary distillation: the teacher's embeddings as far as it can be trusted.

EdgeDistill's own method; docs/explanation/ovd.md says why each part is there.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import distillation, labelled_cross_entropy
from edgedistill.methods.heads import TextCosineHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.reliability import Reliability
from edgedistill.registries import METHODS


class OVDHyper(HyperParameters):
    """Hyper-parameters of open-vocabulary distillation."""

    weight: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the teacher beside cross-entropy, times its reliability.",
        json_schema_extra=searched(0.25, 4),
    )
    reliability: Literal["overall", "class"] = Field(
        "overall",
        description="The odds that the teacher is right on source validation, corrected for "
        "chance: of all images, or of the labelled ones' own classes.",
    )
    kd_weight: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Weight, beside the embedding term, of the divergence from the teacher's "
        "probabilities of the known classes.",
    )
    contrast_weight: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Weight, beside the embedding term, of the divergence from the teacher's "
        "similarities between the images of a batch.",
    )


@METHODS.register("ovd")
class OVD(Method[OVDHyper, TextCosineHead]):
    """Open-vocabulary distillation (EdgeDistill's own).

    Cross-entropy on cosines with the class texts for labelled images, and for all images one minus
    the cosine with the teacher's embedding, weighted by how far the teacher is right.
    """

    Hyper: ClassVar[type[HyperParameters]] = OVDHyper
    needs_teacher: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True
    default_score: ClassVar[str] = "max_cosine"
    projection_weight: ClassVar[str | None] = "projector.weight"

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> TextCosineHead:
        return TextCosineHead(feature_dim, self.class_texts(), projection)

    def compute_losses(
        self,
        head: TextCosineHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        """Losses; a ``labels`` entry of -1 marks an image without a label."""
        image, text, reliability = self.require_teacher(teacher_outputs)
        if out.projected is None:
            raise ValueError("method 'ovd' needs the projected output of its own head")
        hard = labelled_cross_entropy(out.logits, labels)
        overall, rows = self._weights(reliability, text.logit_scale, labels)
        distance = 1 - F.cosine_similarity(out.projected, image, dim=-1)
        losses = {"cross_entropy": hard, "embedding": distance.mean()}
        loss = hard + (rows * distance).mean()
        if self.hyper.kd_weight:
            teacher = text.cosines(image) * text.logit_scale
            losses["distillation"] = distillation(teacher, out.logits, 1.0)
            loss = loss + overall * self.hyper.kd_weight * losses["distillation"]
        if self.hyper.contrast_weight:
            among, across = image @ image.T, out.projected @ image.T
            scale = text.logit_scale
            losses["contrast"] = distillation(among * scale, across * scale, 1.0)
            loss = loss + overall * self.hyper.contrast_weight * losses["contrast"]
        return {"loss": loss, **losses}

    def describe_reliability(self, reliability: Reliability) -> str:
        scale = self.class_texts().logit_scale
        line = f"weight of the teacher's embeddings {self._weight(reliability, scale):.3g}"
        if self.hyper.reliability == "class":
            each = self.hyper.weight * reliability.per_class.clamp_max(scale)
            line += f", of labelled images {float(each.min()):.3g} to {float(each.max()):.3g}"
            line += " by their class"
        return line

    def _weight(self, reliability: Reliability | None, scale: float) -> float:
        """Weight of the teacher: no more than the logit scale, the largest pull of a label.

        By it an image that the student gets wrong follows its label, however good the teacher is.
        Odds of 1 where nothing was measured.
        """
        odds = 1.0 if reliability is None else reliability.overall
        return self.hyper.weight * min(odds, scale)

    def _weights(
        self, reliability: Reliability | None, scale: float, labels: Tensor
    ) -> tuple[float, Tensor]:
        """Weight of the teacher on images of any kind, and on each row `[B]`."""
        overall = self._weight(reliability, scale)
        if self.hyper.reliability == "overall" or reliability is None:
            return overall, labels.new_full(labels.shape, overall, dtype=torch.float32)
        each = self.hyper.weight * reliability.per_class.clamp_max(scale)
        return overall, torch.where(labels < 0, overall, each[labels.clamp_min(0)])
