"""SCMD: distillation on hard samples, in logits and across modalities.

"Choosing Wisely and Learning Deeply: Selective Cross-Modality Distillation via CLIP for Domain
Generalization", arXiv 2311.15145, TMLR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from numpy.random import RandomState
from pydantic import Field
from torch import Tensor, nn

from edgedistill._utils.seeds import seed_hash
from edgedistill.methods.authors_code import DOMAINBED
from edgedistill.methods.base import (
    Method,
    ParamGroup,
    StudentOutput,
    TeacherOutputs,
    group,
)
from edgedistill.methods.functional import distillation, focal_loss
from edgedistill.methods.heads import ProjectionHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class SCMDHyper(HyperParameters):
    """Hyper-parameters of SCMD; defaults are the authors'."""

    lambda1: float = Field(0.5, ge=0, le=1000, description="Weight of the logit distillation.")
    lambda2: float = Field(
        0.5,
        ge=0,
        le=1000,
        description="Weight of the cross-modal term.",
        json_schema_extra=searched(0.125, 8),
    )
    cross_modal: bool = Field(
        True,
        description="Train the cross-modal term; false: the authors' SCMD_no_CM, and with "
        "worst_case_p = 1 their Baseline. The score is then max_logit where none is given.",
    )
    focal_gamma: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Exponent of the focal loss in place of cross-entropy, the authors' "
        "SCMD_focal; 0 is cross-entropy.",
    )
    temperature: float = Field(
        3.0,
        gt=0,
        le=100,
        description="Softens the teacher's and the student's distributions.",
        json_schema_extra=searched(1, 9),
    )
    last_k: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Last share of the run that trains on whole batches.",
        json_schema_extra=searched(0.1, 0.9, log=False),
    )
    worst_case_p: float = Field(
        0.2, gt=0, le=1, description="Share of each batch kept, hardest samples first."
    )
    scale_lr: float = Field(
        1e-4, gt=0, le=1, description="Fixed learning rate of the log-scale, never scheduled."
    )
    projector_init: bool = Field(
        True,
        description="Start the projector at the start weights' projection, if they have one.",
        json_schema_extra={"authors": False},
    )
    selection_steps: int | None = Field(
        None,
        ge=1,
        description="Run length that last_k refers to; unset, this run's own.",
        json_schema_extra={"authors": 5000},
    )


# DomainBed's name of a hyper-parameter, which seeds its generator -> recipe key and distribution.
_DRAWS: dict[str, tuple[str, Callable[[RandomState], Any]]] = {
    "lambda1": ("method.lambda1", lambda r: r.uniform(0.5, 1)),
    "lambda2": ("method.lambda2", lambda r: r.uniform(0.5, 1)),
    "last_k_epoch": ("method.last_k", lambda r: r.uniform(0.2, 0.4)),
    "worst_case_p": ("method.worst_case_p", lambda r: r.choice([0.2, 0.25, 0.3])),
    "temperature": ("method.temperature", lambda r: r.uniform(2, 5)),
    "lr": ("train.lr", lambda r: r.choice([3e-5, 5e-5])),
    "weight_decay": ("train.weight_decay", lambda r: r.choice([1e-4, 1e-6])),
}


@METHODS.register("scmd")
class SCMD(Method[SCMDHyper, ProjectionHead]):
    """Selective cross-modality distillation (SCMD, arXiv 2311.15145)."""

    Hyper: ClassVar[type[HyperParameters]] = SCMDHyper
    needs_teacher: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    # The projection is an embedding among the class texts, as the teacher's.
    default_score: ClassVar[str] = "max_cosine"
    projection_weight: ClassVar[str | None] = "projector.weight"
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED

    @classmethod
    def draw_hyperparameters(cls, seed: int, trial: int) -> dict[str, float]:
        """The authors' random search in DomainBed, to the digit.

        Every value comes from a generator of its own, seeded by a hash of ``seed``, ``trial`` and
        the value's name.
        """
        if seed == 0:
            return {}
        of_trial = seed_hash(seed, trial)
        return {
            key: float(draw(RandomState(seed_hash(of_trial, name))))
            for name, (key, draw) in _DRAWS.items()
        }

    @classmethod
    def score_of(cls, hyper: SCMDHyper) -> str:
        # Without the term the projection is nobody's: it ends where it starts.
        return cls.default_score if hyper.cross_modal else "max_logit"

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> ProjectionHead:
        width = self.class_texts().pooled.shape[1]
        start = projection if self.hyper.projector_init else None
        return ProjectionHead(feature_dim, num_classes, width, start)

    def param_groups(self, backbone: nn.Module, head: ProjectionHead) -> list[ParamGroup]:
        return [
            group("backbone", backbone),
            group("head", head.classifier, head.projector),
            {"name": "log_scale", "params": [head.log_scale], "lr": self.hyper.scale_lr},
        ]

    def keep_fraction(self, step: int, total_steps: int) -> float | None:
        length = self.hyper.selection_steps or total_steps
        selecting = step <= int(length * (1 - self.hyper.last_k))
        # Keeping everything needs no ranking, which would cost a forward pass.
        return self.hyper.worst_case_p if selecting and self.hyper.worst_case_p < 1 else None

    def compute_losses(
        self,
        head: ProjectionHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image, text, _ = self.require_teacher(teacher_outputs)
        if out.projected is None:
            raise ValueError("method 'scmd' needs the projected output of its own head")
        teacher = text.cosines(image) * text.logit_scale
        # The focal loss falls as the cross-entropy does, so both rank a batch alike.
        hard, name = F.cross_entropy(out.logits, labels), "cross_entropy"
        if self.hyper.focal_gamma:
            hard, name = focal_loss(out.logits, labels, self.hyper.focal_gamma), "focal_loss"
        logit = distillation(teacher, out.logits, self.hyper.temperature)
        across = text.cosines(out.projected) * head.log_scale.exp()
        cross_modal = distillation(teacher, across, self.hyper.temperature)
        # A gradient of zero is one: several processes wait for that of every parameter.
        weight = self.hyper.lambda2 if self.hyper.cross_modal else 0.0
        return {
            "loss": hard + self.hyper.lambda1 * logit + weight * cross_modal,
            name: hard,
            "logit_distillation": logit,
            "cross_modal": cross_modal,
        }

    def after_step(self, head: ProjectionHead) -> None:
        with torch.no_grad():
            head.log_scale.clamp_(0.0, head.MAX_LOG_SCALE)
