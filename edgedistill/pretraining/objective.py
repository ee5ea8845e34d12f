"""The loss of label-free pretraining.

The cosine distance is the feature distillation of "CLIP-KD: An Empirical Study of CLIP Model
Distillation", arXiv 2307.12732; the contrast is its interactive contrastive learning with the
teacher's image embeddings in the place of texts; the divergence over a vocabulary is that of
"TinyCLIP", arXiv 2309.12314, over words instead of the captions of a batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.heads import ProjectorHead
from edgedistill.methods.hyper import HyperParameters


class ObjectiveHyper(HyperParameters):
    """Weights of the terms, see the recipe's section [loss]."""

    vocabulary: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    temperature: float = Field(0.07, gt=0)


class Objective(Method[ObjectiveHyper, ProjectorHead]):
    """Distillation of the teacher's image embeddings without labels, as a training method.

    Its texts are the vocabulary's words, or none. It is in no registry: a run needs a classifier.
    """

    Hyper: ClassVar[type[HyperParameters]] = ObjectiveHyper
    needs_teacher: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    projection_weight: ClassVar[str | None] = "projector.weight"

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> ProjectorHead:
        return ProjectorHead(feature_dim, self.class_texts().pooled.shape[1], projection)

    def compute_losses(
        self,
        head: ProjectorHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        """Mean over the batch of 1 - cosine, and the weighted terms; labels are not read."""
        teacher = self.require_teacher(teacher_outputs)
        if out.projected is None:
            raise ValueError("pretraining needs the projected output of its own head")
        loss = 1 - (out.projected * teacher.image).sum(dim=1).mean()
        terms = {"cosine_distance": loss}
        if self.hyper.vocabulary:
            words, scale = teacher.text.pooled, teacher.text.logit_scale
            target = F.log_softmax(scale * teacher.image @ words.T, dim=1)
            answer = F.log_softmax(scale * out.projected @ words.T, dim=1)
            terms["vocabulary"] = F.kl_div(answer, target, reduction="batchmean", log_target=True)
            loss = loss + self.hyper.vocabulary * terms["vocabulary"]
        if self.hyper.contrast:
            logits = out.projected @ teacher.image.T / self.hyper.temperature
            own = torch.arange(len(logits), device=logits.device)
            terms["contrast"] = F.cross_entropy(logits, own)
            loss = loss + self.hyper.contrast * terms["contrast"]
        return {"loss": loss, **terms}
