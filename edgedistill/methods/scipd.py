"""SCI-PD: distillation with perturbed scores, instance weights and class geometry.

"PracticalDG: Perturbation Distillation on Vision-Language Models for Hybrid Domain
Generalization", arXiv 2404.09011, CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from edgedistill.methods import functional
from edgedistill.methods.authors_code import HDG_DISTILLATION
from edgedistill.methods.base import (
    Method,
    ParamGroup,
    StudentOutput,
    TeacherOutputs,
    group,
)
from edgedistill.methods.heads import TextHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class SCIPDHyper(HyperParameters):
    """Hyper-parameters of SCI-PD; defaults are the authors', with their slips corrected."""

    alpha: float = Field(
        0.8,
        ge=0,
        le=10,
        description="Exponent of the instance weights; 0 weighs all alike.",
        json_schema_extra=searched(0, 2, log=False),
    )
    tau: float = Field(
        0.5,
        gt=0,
        le=100,
        description="Temperature of the perturbed scores.",
        json_schema_extra=searched(0.1, 2.5),
    )
    beta: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="Weight of the class perturbation.",
        json_schema_extra=searched(0.01, 10),
    )
    score_perturbation: bool = Field(
        True, description="Correct the teacher where its first choice is not the label."
    )
    instance_perturbation: bool = Field(
        True, description="Give samples the teacher is unsure about a larger weight."
    )
    text_init: bool = Field(True, description="Start the classifier's rows at the class texts.")
    projector_init: bool = Field(
        True,
        description="Start the hidden layer at the start weights' projection, if they have one.",
        json_schema_extra={"authors": False},
    )
    head_lr_scale: float = Field(
        5.0, gt=0, le=1000, description="Learning rate of the head over that of the backbone."
    )
    similarity_scale: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Scale of the teacher's cosines; unset, the teacher's own logit scale.",
        json_schema_extra={"authors": 100.0},
    )
    double_softmax: bool = Field(
        False,
        description="Apply the softmax of the class perturbation's prediction twice.",
        json_schema_extra={"authors": True},
    )
    two_optimizers: bool = Field(
        False,
        description="Step two identical optimisers on each gradient, doubling the rate.",
        json_schema_extra={"authors": True},
    )
    half_similarity: bool = Field(
        False,
        description="Evaluate the teacher's similarities in float16.",
        json_schema_extra={"authors": True},
    )


@METHODS.register("scipd")
class SCIPD(Method[SCIPDHyper, TextHead]):
    """Score, class and instance perturbed distillation (SCI-PD, arXiv 2404.09011)."""

    Hyper: ClassVar[type[HyperParameters]] = SCIPDHyper
    needs_teacher: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    # The head's hidden layer is an embedding among the class texts, as the teacher's.
    default_score: ClassVar[str] = "max_cosine"
    projection_weight: ClassVar[str | None] = "hidden.weight"
    authors_recipe: ClassVar[Mapping[str, Any]] = {
        **HDG_DISTILLATION,
        # The two optimisers hold one list of groups, and each decay is applied through both.
        "train.decay_per_optimizer": True,
        "openset.score": "max_logit",
    }

    @property
    def optimizers(self) -> int:
        return 2 if self.hyper.two_optimizers else 1

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> TextHead:
        texts = self.class_texts().pooled
        start = texts if self.hyper.text_init else None
        first = projection if self.hyper.projector_init else None
        return TextHead(feature_dim, num_classes, texts.shape[1], start, first)

    def param_groups(self, backbone: nn.Module, head: TextHead) -> list[ParamGroup]:
        return [
            group("backbone", backbone),
            group("head", head, lr_scale=self.hyper.head_lr_scale),
        ]

    def compute_losses(
        self,
        head: TextHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        hyper = self.hyper
        image, text, _ = self.require_teacher(teacher_outputs)
        scale = text.logit_scale if hyper.similarity_scale is None else hyper.similarity_scale
        p = (
            functional.half_similarity(text, image, scale)
            if hyper.half_similarity
            else functional.similarity(text.cosines(image), scale)
        )
        # The weights measure the teacher's own doubt, so they come before the correction.
        weights = (
            functional.instance_weights(p, hyper.alpha)
            if hyper.instance_perturbation
            else torch.ones_like(p[:, 0])
        )
        targets = functional.perturb_scores(p, labels, hyper.tau) if hyper.score_perturbation else p
        classification = functional.weighted_soft_cross_entropy(out.logits, targets, weights)
        geometry = functional.class_perturbation(
            functional.cosine_matrix(text.pooled, text.pooled),
            functional.cosine_matrix(text.pooled, head.classifier.weight),
            double_softmax=hyper.double_softmax,
        )
        return {
            "loss": classification + hyper.beta * geometry,
            "classification": classification,
            "class_perturbation": geometry,
        }
