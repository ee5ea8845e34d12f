"""VL2V: a student drawn to the teacher's image and text embeddings, which classifies by texts.

The student's side of VL2V-ADiP, "Leveraging Vision-Language Models for Improving Domain
Generalization in Image Classification", arXiv 2310.08255, CVPR 2024.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import labelled_mean
from edgedistill.methods.heads import TextCosineHead
from edgedistill.methods.hyper import HyperParameters
from edgedistill.registries import METHODS


@METHODS.register("vl2v")
class VL2V(Method[HyperParameters, TextCosineHead]):
    """Distillation of image and text embeddings (VL2V-ADiP's student, arXiv 2310.08255)."""

    needs_teacher: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True
    projects: ClassVar[bool] = True
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
        image, text, _ = self.require_teacher(teacher_outputs)
        if out.projected is None:
            raise ValueError("method 'vl2v' needs the projected output of its own head")
        to_image = 1 - F.cosine_similarity(out.projected, image, dim=-1).mean()
        # Any text will do for rows without a label, which are not counted.
        own_text = text.pooled[labels.clamp_min(0)]
        cosines = F.cosine_similarity(out.projected, own_text, dim=-1)
        to_text = 1 - labelled_mean(cosines, labels)
        return {"loss": (to_image + to_text) / 2, "image": to_image, "text": to_text}
