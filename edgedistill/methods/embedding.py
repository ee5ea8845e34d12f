"""Embedding distillation: the student's projection against the teacher's image embedding.

The feature distillation of "CLIP-KD: An Empirical Study of CLIP Model Distillation",
arXiv 2307.12732, CVPR 2024, beside cross-entropy on the labels.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import labelled_cross_entropy
from edgedistill.methods.heads import EmbeddingHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class EmbeddingHyper(HyperParameters):
    """Hyper-parameters of embedding distillation."""

    distance: Literal["mse", "cosine"] = Field(
        "mse",
        description="Squared Euclidean distance of the unit-norm embeddings, summed over their "
        "entries, or one minus their cosine, which is half of it.",
    )
    weight: float = Field(
        4.0,
        ge=0,
        le=10000,
        description="Weight of the distance beside cross-entropy; CLIP-KD's 2000 times the mean "
        "over 512 entries is 3.9.",
        json_schema_extra=searched(0.5, 32),
    )


@METHODS.register("embedding")
class Embedding(Method[EmbeddingHyper, EmbeddingHead]):
    """Distillation of the teacher's image embeddings (CLIP-KD's, arXiv 2307.12732)."""

    Hyper: ClassVar[type[HyperParameters]] = EmbeddingHyper
    needs_teacher: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    default_score: ClassVar[str] = "max_cosine"
    projection_weight: ClassVar[str | None] = "projector.weight"

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> EmbeddingHead:
        width = self.class_texts().pooled.shape[1]
        return EmbeddingHead(feature_dim, num_classes, width, projection)

    def compute_losses(
        self,
        head: EmbeddingHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image = self.require_teacher(teacher_outputs).image
        if out.projected is None:
            raise ValueError("method 'embedding' needs the projected output of its own head")
        hard = labelled_cross_entropy(out.logits, labels)
        if self.hyper.distance == "mse":
            distance = (out.projected - image).square().sum(dim=-1).mean()
        else:
            distance = 1 - F.cosine_similarity(out.projected, image, dim=-1).mean()
        return {
            "loss": hard + self.hyper.weight * distance,
            "cross_entropy": hard,
            "embedding": distance,
        }
