"""CRD: the student's and the teacher's embeddings of an image, told from those of other images.

"Contrastive Representation Distillation", arXiv 1910.10699, ICLR 2020, in its in-batch form: the
negatives are the other images of the batch instead of 16,384 from a memory bank, and the critic is
the softmax over them (InfoNCE, arXiv 1807.03748) instead of the bank's noise-contrastive estimate.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import contrast, labelled_cross_entropy
from edgedistill.methods.heads import ContrastHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class CRDHyper(HyperParameters):
    """Hyper-parameters of CRD; defaults are the authors' on CIFAR-100."""

    weight: float = Field(
        0.8,
        ge=0,
        le=1000,
        description="Weight of the contrast beside cross-entropy.",
        json_schema_extra=searched(0.1, 6.4),
    )
    temperature: float = Field(
        0.07,
        gt=0,
        le=10,
        description="Divides the cosines of the contrast.",
        json_schema_extra=searched(0.02, 0.5),
    )
    width: int = Field(
        128, ge=1, le=4096, description="Width of the space both embeddings are mapped into."
    )
    negatives: Literal["other_classes", "other_images"] = Field(
        "other_classes",
        description="Images that count as negatives: those of another class and those without a "
        "label, or all but the image itself.",
    )


@METHODS.register("crd")
class CRD(Method[CRDHyper, ContrastHead]):
    """Contrastive representation distillation (CRD, arXiv 1910.10699), within the batch."""

    Hyper: ClassVar[type[HyperParameters]] = CRDHyper
    needs_teacher: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> ContrastHead:
        teacher_width = self.class_texts().pooled.shape[1]
        return ContrastHead(feature_dim, num_classes, teacher_width, self.hyper.width)

    def compute_losses(
        self,
        head: ContrastHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        image = self.require_teacher(teacher_outputs).image
        hard = labelled_cross_entropy(out.logits, labels)
        student = F.normalize(head.student_embedding(out.features), dim=-1)
        teacher = F.normalize(head.teacher_embedding(image), dim=-1)
        classes = labels if self.hyper.negatives == "other_classes" else None
        contrastive = contrast(student @ teacher.T / self.hyper.temperature, classes)
        return {
            "loss": hard + self.hyper.weight * contrastive,
            "cross_entropy": hard,
            "contrast": contrastive,
        }
