"""RISE: distillation with the class texts as targets, absolute and relative to other sentences.

"A Sentence Speaks a Thousand Images: Domain Generalization through Distilling CLIP with Language
Guidance", arXiv 2309.12530, ICCV 2023. Where paper and code differ, as in the factor of the
relative distance, this is the code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from edgedistill.methods.base import Method, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import distillation, relative_text_distance
from edgedistill.methods.heads import TextHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class RISEHyper(HyperParameters):
    """Hyper-parameters of RISE; defaults are of the authors' search on PACS."""

    temperature: float = Field(
        3.0,
        gt=0,
        le=100,
        description="Softens the teacher's and the student's distributions.",
        json_schema_extra=searched(1, 9),
    )
    classification: float = Field(
        0.1, ge=0, le=1000, description="Weight of the cross-entropy with the labels."
    )
    distillation: float = Field(
        0.9,
        ge=0,
        le=1000,
        description="Weight of the distillation of the teacher's probabilities.",
        json_schema_extra=searched(0.25, 4),
    )
    absolute: float = Field(
        0.5,
        ge=0,
        le=1000,
        description="Weight of one minus the cosine with the text of the label.",
        json_schema_extra=searched(0.125, 4),
    )
    relative: float = Field(
        5.0,
        ge=0,
        le=10000,
        description="Weight of the distance between the closeness to the anchors of the student "
        "and of the label's text; ten times that of the absolute one in the authors' code.",
        json_schema_extra=searched(1.25, 40),
    )
    anchors: list[str] = Field(
        ["bright photo", "corrupted photo", "dark photo", "good photo"],
        min_length=2,
        description="Kinds of images: the anchors of a class are the texts 'a ANCHOR of a CLASS'. "
        "The default is the authors' where domains have no names; else they take the source "
        "domains' names, as 'sketch'.",
    )

    @field_validator("anchors")
    @classmethod
    def plain(cls, value: list[str]) -> list[str]:
        """The anchors; ValueError for one that is empty or has braces."""
        for anchor in value:
            if not anchor.strip() or set("{}") & set(anchor):
                raise ValueError(f"{anchor!r} is no kind of image: write it as 'sketch'")
        return value


@METHODS.register("rise")
class RISE(Method[RISEHyper, TextHead]):
    """Distillation with language guidance (RISE, arXiv 2309.12530)."""

    Hyper: ClassVar[type[HyperParameters]] = RISEHyper
    needs_teacher: ClassVar[bool] = True
    projects: ClassVar[bool] = True
    default_score: ClassVar[str] = "max_cosine"
    projection_weight: ClassVar[str | None] = "hidden.weight"

    @classmethod
    def sentences(cls, hyper: RISEHyper) -> Sequence[str]:
        return [f"a {anchor} of a {{}}" for anchor in hyper.anchors]

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> TextHead:
        texts = self.class_texts().pooled
        return TextHead(
            feature_dim, num_classes, texts.shape[1], texts, projection, rectified=False
        )

    def compute_losses(
        self,
        head: TextHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        hyper, outputs = self.hyper, self.require_teacher(teacher_outputs)
        image, text = outputs.image, outputs.text
        if out.projected is None or text.sentences is None:
            raise ValueError("method 'rise' needs its own head and the texts of its anchors")
        teacher = text.cosines(image) * text.logit_scale
        hard = F.cross_entropy(out.logits, labels)
        soft = distillation(teacher, out.logits, hyper.temperature)
        own_text, anchors = text.pooled[labels], text.sentences[:, labels].transpose(0, 1)
        absolute = 1 - F.cosine_similarity(out.projected, own_text, dim=-1).mean()
        relative = relative_text_distance(out.projected, own_text, anchors)
        return {
            "loss": hyper.classification * hard
            + hyper.distillation * soft
            + hyper.absolute * absolute
            + hyper.relative * relative,
            "cross_entropy": hard,
            "distillation": soft,
            "absolute": absolute,
            "relative": relative,
        }
