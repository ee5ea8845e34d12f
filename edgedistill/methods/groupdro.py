"""GroupDRO: source domains weighed by their losses, the worst most, no teacher.

"Distributionally Robust Neural Networks for Group Shifts: On the Importance of Regularization for
Worst-Case Generalization", arXiv 1911.08731, ICLR 2020, algorithm 1, with source domains as groups
as in DomainBed (arXiv 2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.errors import TrainingError
from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import DomainMethod, SourceRows, StudentOutput
from edgedistill.methods.domain_formulas import domain_means
from edgedistill.methods.heads import GroupHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class GroupDROHyper(HyperParameters):
    """Hyper-parameters of GroupDRO; defaults are DomainBed's."""

    eta: float = Field(
        0.01,
        ge=0,
        le=100,
        description="Rate at which a domain's weight grows with its loss.",
        json_schema_extra=searched(0.001, 0.1),
    )


@METHODS.register("groupdro")
class GroupDRO(DomainMethod[GroupDROHyper, GroupHead]):
    """Group distributionally robust optimisation over domains (arXiv 1911.08731), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = GroupDROHyper
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> GroupHead:
        return GroupHead(feature_dim, num_classes)

    def compute_domain_losses(
        self, head: GroupHead, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        if rows.num_domains > head.MAX_GROUPS:
            raise TrainingError(
                f"method.name: groupdro weighs at most {head.MAX_GROUPS} source domains, and "
                f"this run has {rows.num_domains}; choose another method"
            )
        losses = F.cross_entropy(out.logits, labels, reduction="none")
        of_domain = domain_means(losses, rows.domains, rows.num_domains)
        grown = head.log_weights[: rows.num_domains] + self.hyper.eta * of_domain.detach()
        log_weights = torch.log_softmax(grown, dim=0)
        # The weights go on from here after the step, not before: losses may be asked for twice.
        head.next_log_weights[: rows.num_domains].copy_(log_weights)
        return {
            "loss": (log_weights.exp() * of_domain).sum(),
            "cross_entropy": losses.mean(),
            "worst_domain": of_domain.amax(),
        }

    def after_step(self, head: GroupHead) -> None:
        head.log_weights.copy_(head.next_log_weights)
