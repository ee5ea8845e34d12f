"""RSC: the classifier without the features it relies on most, no teacher.

"Self-Challenging Improves Cross-Domain Generalization", arXiv 2007.02454, ECCV 2020, on pooled
features as in DomainBed (arXiv 2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import StudentOutput, TeacherOutputs
from edgedistill.methods.domain_formulas import salient_features
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class RSCHyper(HyperParameters):
    """Hyper-parameters of RSC; defaults are DomainBed's."""

    feature_share: float = Field(
        1 / 3,
        gt=0,
        lt=1,
        description="Share of an image's features that are muted, those of the largest gradient.",
        json_schema_extra=searched(0.05, 0.5, log=False),
    )
    image_share: float = Field(
        1 / 3,
        gt=0,
        le=1,
        description="Share of the batch that is muted, where that costs the label most.",
        json_schema_extra=searched(0.05, 0.5, log=False),
    )


@METHODS.register("rsc")
class RSC(LinearMethod[RSCHyper]):
    """Representation self-challenging (RSC, arXiv 2007.02454), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = RSCHyper
    needs_teacher: ClassVar[bool] = False
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def compute_losses(
        self,
        head: LinearHead,
        out: StudentOutput,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
    ) -> dict[str, Tensor]:
        features, classifier = out.features, head.classifier
        with torch.no_grad():
            # The gradient of a linear layer's output for a label is the label's row of weights.
            salient = salient_features(classifier.weight[labels], self.hyper.feature_share)
            muted = classifier(features.masked_fill(salient, 0.0))
            drop = _label_share(out.logits, labels) - _label_share(muted, labels)
            worst = drop >= torch.quantile(drop, 1 - self.hyper.image_share)
        challenged = classifier(features.masked_fill(salient & worst[:, None], 0.0))
        loss = F.cross_entropy(challenged, labels)
        return {"loss": loss, "cross_entropy": F.cross_entropy(out.logits, labels).detach()}


def _label_share(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's probability in each row [B, C]: [B]."""
    return F.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
