"""V-REx: equal risks in all source domains, no teacher.

"Out-of-Distribution Generalization via Risk Extrapolation (REx)", arXiv 2003.00688, ICML 2021. As
in DomainBed (arXiv 2007.01434) the penalty has the weight 1 at first; the optimiser is not started
anew when that ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import DomainMethod, SourceRows, StudentOutput
from edgedistill.methods.domain_formulas import domain_means, population_variance
from edgedistill.methods.heads import CountingHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.registries import METHODS


class VRExHyper(HyperParameters):
    """Hyper-parameters of V-REx; the weight is DomainBed's."""

    weight: float = Field(
        10.0,
        ge=0,
        le=1e6,
        description="Weight of the variance of the domains' losses.",
        json_schema_extra=searched(0.1, 1000),
    )
    anneal_steps: int = Field(
        60,
        ge=0,
        description="First steps, in which that weight is 1.",
        # A tenth of the run, as of the default recipe's 600 steps.
        json_schema_extra={"authors": 500},
    )


@METHODS.register("vrex")
class VREx(DomainMethod[VRExHyper, CountingHead]):
    """Variance risk extrapolation (V-REx, arXiv 2003.00688), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = VRExHyper
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> CountingHead:
        return CountingHead(feature_dim, num_classes)

    def compute_domain_losses(
        self, head: CountingHead, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        losses = F.cross_entropy(out.logits, labels, reduction="none")
        of_domain = domain_means(losses, rows.domains, rows.num_domains)
        hard, variance = of_domain.mean(), population_variance(of_domain)
        annealed = head.steps >= self.hyper.anneal_steps
        weight = torch.where(annealed, self.hyper.weight, 1.0)
        return {
            "loss": hard + weight * variance,
            "cross_entropy": hard,
            "variance": variance,
        }

    def after_step(self, head: CountingHead) -> None:
        head.steps.add_(1)
